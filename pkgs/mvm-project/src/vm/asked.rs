//! Calls of `mvm` that must succeed.

use super::mvm::last_line;
use super::{Mvm, Said};

/// Its output; an error names `what` was to be done.
pub fn called(mvm: &dyn Mvm, args: &[&str], input: Option<&str>, what: &str) -> anyhow::Result<String> {
    let Said { ok, stdout, stderr } = mvm.call(args, input, None)?;
    if !ok {
        anyhow::bail!("can't {what}: {}", last_line(&stderr));
    }
    Ok(stdout)
}

/// The same for what takes its time: its progress is shown, its error with it.
pub fn told(mvm: &dyn Mvm, args: &[&str], input: Option<&str>, what: &str) -> anyhow::Result<String> {
    let said = mvm.tell(args, input)?;
    if !said.ok {
        anyhow::bail!("can't {what}; mvm's message is above");
    }
    Ok(said.stdout)
}
