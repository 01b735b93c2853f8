//! `mvm stop`.

use crate::context::{Context, block_on};
use crate::declared::unit;
use crate::exit::{Exit, Outcome};
use crate::units::{count, parse_duration};
use mvm_host::client;
use mvm_host::overlay::{self, Changes};
use mvm_spec::VmName;
use std::time::Duration;

/// How many changes are counted before it is enough to know that there are many.
pub const COUNTED: usize = 10_000;

/// Stops VMs: asks the guest to end, and ends it if it does not.
///
/// What a VM without --persist changed in its copy of the project is gone after this; if there is anything, it says so
/// first, and asks on a terminal.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm stop web
  mvm stop --all --yes
  mvm stop web --force                at once, like pulling the plug")]
pub struct Args {
    /// The VMs.
    #[arg(required_unless_present = "all", value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    names: Vec<VmName>,
    /// All of them.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    how: How,
}

/// How to stop: shared by `stop` and `restart`.
#[derive(clap::Args, Clone, Debug)]
pub struct How {
    /// Don't ask the guest, and don't ask you.
    #[arg(long)]
    pub force: bool,
    /// Don't ask before changes are lost.
    #[arg(long, short)]
    pub yes: bool,
    /// How long the guest may take to end.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub timeout: Duration,
}

impl Args {
    /// Stops the VMs.
    pub fn run(self, context: &Context) -> Outcome {
        let names = crate::target::several(context, &self.names, self.all)?;
        block_on(async {
            let mut exit = Exit::SUCCESS;
            for name in &names {
                if !stop(context, name, &self.how).await? {
                    exit = Exit::FAILURE;
                }
            }
            Ok(exit)
        })
    }
}

/// Stops VM `name`; false if its owner decided otherwise.
pub async fn stop(context: &Context, name: &VmName, how: &How) -> anyhow::Result<bool> {
    if crate::declared::is_declared(context, name) {
        return match may_lose(context, name, how)? {
            true => stop_declared(context, name, how).await.map(|()| true),
            false => Ok(false),
        };
    }
    // A damaged spec must not keep a VM from being stopped; its changes are then kept, too.
    let forgets = context.store.get(name).is_ok_and(|vm| !vm.spec.persistence.enable);
    if forgets && !how.force {
        let changes = changes(context, name)?;
        if !changes.is_empty() {
            let loss = format!("{name} has {} to its copy of the project", describe(&changes));
            if how.yes || !crate::confirm::possible() {
                context.progress.warn(&format!("{loss}; they are gone now"));
            } else if !crate::confirm::ask(&format!("{loss}, which will be gone. Stop it?"))? {
                context.progress.note(&format!("{name} goes on"));
                return Ok(false);
            }
        }
    }
    let progress = &context.progress;
    progress.step(&format!("stopping {name}"));
    let mut on_event = |event: &_| progress.event(event);
    let stopping = client::stop(&context.realm, name, how.force, how.timeout, &mut on_event);
    let stopped = progress.during(stopping).await;
    progress.done();
    let stopped = stopped?;
    if forgets {
        context.store.reset_overlay(name)?;
    }
    if stopped.killed && !how.force {
        progress.warn(&format!("{name} did not end within {:?} and was killed", how.timeout));
    }
    progress.note(&match stopped.already {
        true => format!("{name} was stopped already"),
        false => format!("{name} is stopped"),
    });
    Ok(true)
}

/// Whether the declared VM `name` may lose what it changed in its copy of the project, which only root can look at.
pub fn may_lose(context: &Context, name: &VmName, how: &How) -> anyhow::Result<bool> {
    let spec = crate::declared::spec(name)?;
    let runs = !matches!(unit::status(name)?.state, unit::State::Inactive | unit::State::Failed);
    if spec.project.is_none() || spec.persistence.enable || how.force || !runs {
        return Ok(true);
    }
    let loss = format!("{name} does not keep what it changed in its copy of the project");
    if how.yes || !crate::confirm::possible() {
        context.progress.warn(&format!("{loss}; `persistState` in its declaration would"));
        return Ok(true);
    }
    let agreed = crate::confirm::ask(&format!("{loss}. Stop it?"))?;
    if !agreed {
        context.progress.note(&format!("{name} goes on"));
    }
    Ok(agreed)
}

/// Stops a declared VM. Its unit knows how long the guest may take.
async fn stop_declared(context: &Context, name: &VmName, how: &How) -> anyhow::Result<()> {
    let already = matches!(unit::status(name)?.state, unit::State::Inactive | unit::State::Failed);
    let progress = &context.progress;
    progress.step(&format!("stopping {name}"));
    let stopping = async {
        if how.force && !already {
            unit::act(unit::Action::Kill, name).await?;
        }
        unit::act(unit::Action::Stop, name).await?;
        unit::settled(name).await
    };
    let stopped = progress.during(stopping).await;
    progress.done();
    stopped?;
    progress.note(&match already {
        true => format!("{name} was stopped already"),
        false => format!("{name} is stopped"),
    });
    Ok(())
}

/// What VM `name` changed in its copy of the project; nothing for a VM without one.
pub fn changes(context: &Context, name: &VmName) -> anyhow::Result<Changes> {
    let spec = context.store.get(name)?.spec;
    let Some(project) = &spec.project else { return Ok(Changes::default()) };
    Ok(overlay::changes(&context.store.paths(name), Some(&project.path), COUNTED)?)
}

/// The number of changes in words: `3 changes`, `more than 10000 changes`.
pub fn describe(changes: &Changes) -> String {
    let number = count(changes.list.len() as u64, "change");
    if changes.truncated { format!("more than {number}") } else { number }
}
