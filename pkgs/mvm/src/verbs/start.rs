//! `mvm start`.

use crate::boot::BootArgs;
use crate::context::{Context, block_on};
use crate::exit::{Exit, Outcome};
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
            for name in &names {
                let started = crate::boot::start(context, name, self.boot.how()).await?;
                context.progress.note(&match started.already {
                    true => format!("{name} runs already"),
                    false => format!("{name} runs; mvm shell {name}"),
                });
            }
            Ok(Exit::SUCCESS)
        })
    }
}
