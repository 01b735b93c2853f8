//! `mvm start`.

use crate::boot::BootArgs;
use crate::context::{Context, block_on};
use crate::exit::{Exit, Outcome};
use mvm_host::client::Started;
use mvm_spec::VmName;

/// Starts VMs, and returns when they answer.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm start web
  mvm start --all
  mvm start web -v                    with each step and its time")]
pub struct Args {
    /// The VMs.
    #[arg(required_unless_present = "all", value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    names: Vec<VmName>,
    /// All of them.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    boot: BootArgs,
}

impl Args {
    /// Starts the VMs.
    pub fn run(self, context: &Context) -> Outcome {
        let names = crate::target::several(context, &self.names, self.all)?;
        block_on(async {
            let started = crate::boot::start_all(context, &names, self.boot.how()).await;
            let mut result = Ok(Exit::SUCCESS);
            for (name, started) in names.iter().zip(started) {
                match started {
                    Ok(Started { already: true, .. }) => {
                        context.progress.note(&format!("{name} runs already"))
                    }
                    Ok(_) => context.progress.note(&format!("{name} runs; mvm shell {name}")),
                    // The first is returned; the others must not get lost.
                    Err(error) if result.is_err() => context.progress.warn(&format!("{name}: {error:#}")),
                    Err(error) => result = Err(error),
                }
            }
            result
        })
    }
}
