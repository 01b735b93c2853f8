//! `mvm-devenv watch`.

use super::background;
use crate::plan;
use crate::project::Project;
use crate::vm::{Change, Program, ThisHost, Up, compare, status};
use crate::watch::{OnChange, Signals, Then, watch};
use anyhow::{Context as _, bail};
use mvm_spec::VmName;
use std::path::PathBuf;

/// Watches what governs a project, and marks its VM as outdated when what the project needs has changed.
///
/// Goes to the background when it watches, unless it is told to stay. `mvm list` shows the mark, `mvm status` what differs;
/// `mvm-devenv` applies it, or this with --apply. Ends by SIGTERM or Ctrl-C, and when a change shows that the VM is gone.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm-devenv watch                    in the background; the log is named
  mvm-devenv watch --foreground --apply")]
pub struct Args {
    /// The project: a directory of it.
    #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// The VM's name [default: the project's].
    name: Option<VmName>,
    /// Stay in the foreground.
    #[arg(long)]
    foreground: bool,
    /// Apply what can be applied while the VM runs: processes, variables, forwards.
    #[arg(long)]
    apply: bool,
    /// In a session of its own.
    #[arg(long, hide = true)]
    detached: bool,
}

impl Args {
    /// Watches.
    pub fn run(self) -> anyhow::Result<()> {
        if self.detached {
            background::detach();
        }
        let signals = Signals::take().context("can't take signals")?;
        let project = crate::detect::detect(&self.dir)?;
        let name = self.name.clone().unwrap_or_else(|| plan::default_name(&project));
        let program = Program::find();
        let Some(vm) = status(&program, &name, None)? else {
            bail!(
                "there is no VM {name}; to make it: mvm-devenv {} {name}",
                crate::quote::shell(&self.dir.to_string_lossy())
            );
        };
        if let Some(other) = vm.other_project(&project.root) {
            bail!("VM {name} works on {other}, not on {}; name the project's", project.root.display());
        }
        if vm.declared() && self.apply {
            bail!(
                "VM {name} is declared on this host: change its declaration; without --apply it is marked as outdated"
            );
        }
        if !self.foreground {
            return background::watch(&self.dir, &name, self.apply);
        }
        let _only = background::only_watcher(&name)?;
        let mut follow = Follow { program: &program, name, apply: self.apply, begun: false };
        // A directory below is as good, but may be gone tomorrow.
        watch(&project.governing(), std::os::fd::AsFd::as_fd(&signals), &mut follow)
    }
}

struct Follow<'a> {
    program: &'a Program,
    name: VmName,
    apply: bool,
    begun: bool,
}

impl OnChange for Follow<'_> {
    fn changed(&mut self, project: &Project) -> anyhow::Result<Then> {
        let Self { program, name, .. } = self;
        if !self.begun {
            self.begun = true;
            eprintln!("{} {} for VM {name}", background::WATCHING, project.governing().display());
        }
        let plan = plan::plan(project, name.clone());
        if status(*program, name, None)?.is_none() {
            eprintln!("mvm-devenv: VM {name} is gone: nothing is left to watch for");
            return Ok(Then::Stop);
        }
        if self.apply {
            let up = Up { mvm: *program, host: &ThisHost };
            let mut changes = up.changes(&plan)?;
            // Whether it runs is not the project's to say.
            changes.retain(|change| *change != Change::Start);
            if !changes.is_empty() {
                up.apply(&plan, &changes)?;
                eprintln!("mvm-devenv: applied to VM {name}: {}", described(&changes));
            }
        } else {
            let differences = compare(&plan, *program, &ThisHost, None)?;
            match differences.is_empty() {
                true => eprintln!("mvm-devenv: VM {name} is as its project says"),
                false => eprintln!(
                    "mvm-devenv: VM {name} is outdated: {}; mvm-devenv applies it",
                    plan::printable(&differences.join(", "))
                ),
            }
        }
        Ok(Then::GoOn)
    }

    fn trouble(&mut self, error: &anyhow::Error) {
        eprintln!("mvm-devenv: {error:#}; trying again later");
    }
}

fn described(changes: &[Change]) -> String {
    let describe = |change: &Change| match change {
        Change::RemovePorts(ports) => format!("forwards removed: {}", ports.join(" ")),
        Change::AddPorts(ports) => format!("forwards added: {}", ports.join(" ")),
        Change::Workload => "processes and variables".to_owned(),
        Change::Create { .. } | Change::Start => String::new(),
    };
    changes.iter().map(describe).collect::<Vec<_>>().join(", ")
}
