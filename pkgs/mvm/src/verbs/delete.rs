//! `mvm delete`.

use super::stop;
use crate::context::{Context, block_on};
use crate::declared;
use crate::exit::{Exit, Outcome};
use anyhow::bail;
use mvm_host::client;
use mvm_host::keeper::protocol::RunningVm;
use mvm_spec::VmName;
use std::time::Duration;

/// Deletes VMs with all their files. The project's directory stays as it is.
///
/// On a terminal it asks before changes to the project's copy, or a home disk, are lost.
#[derive(clap::Args)]
#[command(
    visible_alias = "rm",
    after_help = "Examples:
  mvm delete web
  mvm delete ci-1 ci-2 ci-3 --yes
  mvm delete web --force              also a running one, or one whose files are damaged
  mvm list -q | xargs mvm delete --force"
)]
pub struct Args {
    /// The VMs.
    #[arg(required = true, value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    names: Vec<VmName>,
    /// Running VMs as well, which are killed, and damaged ones; without asking.
    #[arg(long, short)]
    force: bool,
    /// Don't ask.
    #[arg(long, short)]
    yes: bool,
}

impl Args {
    /// Deletes the VMs.
    pub fn run(self, context: &Context) -> Outcome {
        let names = crate::target::several(context, &self.names, false)?;
        if let Some(name) = names.iter().find(|name| declared::is_declared(context, name)) {
            bail!(
                "VM `{name}` is declared: remove {} and switch to it; its files stay in /var/lib/microvm-dev/{name} until \
                 `sudo mvm --realm host delete {name}`",
                declared::place(name)
            );
        }
        block_on(async {
            let running = client::status(&context.realm).await?;
            if !self.force {
                // All of them may be deleted, or none is.
                for name in &names {
                    refuse(context, name, &running)?;
                }
            }
            let mut exit = Exit::SUCCESS;
            for name in &names {
                if !self.force && !self.yes && !agreed(context, name)? {
                    context.progress.note(&format!("{name} stays"));
                    exit = Exit::FAILURE;
                    continue;
                }
                if running.iter().any(|vm| vm.name == *name) {
                    context.progress.step(&format!("stopping {name}"));
                    let stopped = client::stop(&context.realm, name, true, Duration::ZERO, &mut |_| {}).await;
                    context.progress.done();
                    stopped?;
                }
                match context.store.delete(name) {
                    // An ephemeral VM goes with its last process, which was just stopped.
                    Ok(()) | Err(mvm_host::Error::NoSuchVm(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                context.progress.note(&format!("{name} is deleted"));
            }
            Ok(exit)
        })
    }
}

/// What speaks against deleting VM `name` without --force.
fn refuse(context: &Context, name: &VmName, running: &[RunningVm]) -> anyhow::Result<()> {
    if running.iter().any(|vm| vm.name == *name) {
        bail!("VM `{name}` runs; mvm stop {name} first, or mvm delete --force {name}");
    }
    match context.store.get(name) {
        Ok(_) => Ok(()),
        Err(error) => bail!("{error}; mvm delete --force {name} removes the VM all the same"),
    }
}

/// Whether nothing of worth is lost, or its owner agrees.
fn agreed(context: &Context, name: &VmName) -> anyhow::Result<bool> {
    let mut losses = Vec::new();
    let changes = stop::changes(context, name)?;
    if !changes.is_empty() {
        losses.push(format!("{} to its copy of the project", stop::describe(&changes)));
    }
    if context.store.paths(name).home_image().exists() {
        losses.push("a home disk".to_owned());
    }
    if losses.is_empty() || !crate::confirm::possible() {
        return Ok(true);
    }
    crate::confirm::ask(&format!("{name} has {}. Delete it?", losses.join(" and ")))
}
