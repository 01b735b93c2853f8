//! `mvm-unit watch`: says when a VM runs with what its project said before.

use anyhow::{Context as _, bail};
use mvm_host::outdated;
use mvm_host::store::{Outdated, read_declared};
use mvm_project::project::Project;
use mvm_project::watch::{OnChange, Signals, Then, watch};
use mvm_spec::VmName;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Watches the project of VM `name`, as declared in `dir`, until a signal comes. Nothing of the project is executed.
pub fn run(dir: &Path, name: &VmName) -> anyhow::Result<()> {
    let Some(project) = read_declared(dir, name)?.project else {
        bail!("VM `{name}` has no project to watch; declare its `projectDir`, or no `devenv.watch`");
    };
    let signals = Signals::take().context("can't take signals")?;
    let marks = Path::new(outdated::DIR);
    let mut follow = Follow { name, marks, began: None };
    watch(&project.path, signals.as_fd(), &mut follow)
}

struct Follow<'a> {
    name: &'a VmName,
    /// Where marks are.
    marks: &'a Path,
    /// What the project said when the VM was started.
    began: Option<Began>,
}

enum Began {
    /// This.
    With(String),
    /// Something else: the VM was marked before this process began.
    Before,
}

impl OnChange for Follow<'_> {
    fn changed(&mut self, project: &Project) -> anyhow::Result<Then> {
        let Self { name, marks, .. } = self;
        let says = serde_json::to_string(project)?;
        match &self.began {
            None => {
                eprintln!("mvm-unit: watching {} for VM {name}", project.root.display());
                let marked = outdated::get(marks, name).is_some();
                self.began = Some(if marked { Began::Before } else { Began::With(says) });
            }
            Some(Began::With(began)) if *began == says => {
                outdated::clear(marks, name)?;
                eprintln!("mvm-unit: VM {name} runs with what its project says");
            }
            Some(_) => {
                let since = outdated::get(marks, name).map_or_else(now, |outdated| outdated.since);
                let what = vec!["what its project says it needs".to_owned()];
                outdated::set(marks, name, &Outdated { since, what })?;
                eprintln!(
                    "mvm-unit: VM {name} is outdated: its project says something else since it was started"
                );
            }
        }
        Ok(Then::GoOn)
    }

    fn trouble(&mut self, error: &anyhow::Error) {
        eprintln!("mvm-unit: {error:#}; trying again later");
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
