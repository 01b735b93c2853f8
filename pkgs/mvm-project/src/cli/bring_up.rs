//! `mvm-devenv bring-up`: what `export --start` leaves in the background.

use super::background;
use crate::plan;
use crate::vm::{Change, Program, ThisHost, Up};
use anyhow::Context as _;
use mvm_spec::VmName;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Makes and starts a project's VM, and leaves word of how it went.
#[derive(clap::Args)]
pub struct Args {
    name: VmName,
    dir: PathBuf,
    /// Where the files of [`Files`] are.
    keep: PathBuf,
}

/// Files beside an `.envrc`.
pub struct Files {
    /// What the last start said.
    pub log: PathBuf,
    /// Why it failed, if it did.
    pub failed: PathBuf,
    /// Written when it is over, and watched by direnv, which then loads anew.
    pub over: PathBuf,
    /// Locked meanwhile.
    lock: PathBuf,
}

impl Files {
    /// In a directory.
    pub fn of(keep: &Path) -> Self {
        let file = |name: &str| keep.join(name);
        Self {
            log: file("start.log"),
            failed: file("start.failed"),
            over: file("start.over"),
            lock: file("start.lock"),
        }
    }
}

impl Args {
    /// Brings the VM up.
    pub fn run(self) -> anyhow::Result<()> {
        background::detach();
        let files = Files::of(&self.keep);
        let lock =
            File::create(&files.lock).with_context(|| format!("can't write {}", files.lock.display()))?;
        if lock.try_lock().is_err() {
            eprintln!("mvm-devenv: VM {} is being started by another shell", self.name);
            return Ok(());
        }
        let done = bring_up(&self.name, &self.dir);
        let noted = match &done {
            Ok(()) => match std::fs::remove_file(&files.failed) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Err(error) => std::fs::write(&files.failed, format!("{error:#}\n")),
        };
        noted.and_then(|()| std::fs::write(&files.over, "")).context("can't say that it is over")?;
        done
    }
}

fn bring_up(name: &VmName, dir: &Path) -> anyhow::Result<()> {
    let project = crate::detect::detect(dir)?;
    let plan = plan::plan(&project, name.clone());
    let program = Program::find();
    let up = Up { mvm: &program, host: &ThisHost };
    let changes = up.changes(&plan)?;
    up.apply(&plan, &changes)?;
    if changes.contains(&Change::Start) {
        up.start(&[&plan])?;
    }
    Ok(())
}
