//! `mvm restart`.

use super::stop::{self, How};
use crate::boot::BootArgs;
use crate::context::{Context, block_on};
use crate::exit::{Exit, Outcome};
use mvm_spec::VmName;

/// Stops VMs and starts them again; stopped ones are started.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm restart web
  mvm restart web --force --yes")]
pub struct Args {
    /// The VMs.
    #[arg(required_unless_present = "all", value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    names: Vec<VmName>,
    /// All of them.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    how: How,
    #[command(flatten)]
    boot: BootArgs,
}

impl Args {
    /// Restarts the VMs.
    pub fn run(self, context: &Context) -> Outcome {
        let names = crate::target::several(context, &self.names, self.all)?;
        block_on(async {
            let mut exit = Exit::SUCCESS;
            for name in &names {
                let declared = crate::declared::is_declared(context, name) && !self.how.force;
                if declared && stop::may_lose(context, name, &self.how)? {
                    crate::declared::restart(context, name).await?;
                    context.progress.note(&format!("{name} runs"));
                } else if !declared && stop::stop(context, name, &self.how).await? {
                    crate::boot::ensure(context, name, self.boot.how()).await?;
                    context.progress.note(&format!("{name} runs"));
                } else {
                    exit = Exit::FAILURE;
                }
            }
            Ok(exit)
        })
    }
}
