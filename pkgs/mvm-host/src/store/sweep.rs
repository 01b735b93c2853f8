//! Removes VMs, their changes, and what a crash left of them.

use super::files::remove_tree;
use super::{Store, StoredVm, now};
use crate::sandbox::mount::is_mount_point;
use crate::{Error, Result, fault};
use mvm_spec::VmName;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

impl Store {
    /// Removes VM `name` and all its files. The caller has made sure that it does not run.
    pub fn delete(&self, name: &VmName) -> Result<()> {
        let dir = self.paths(name).dir;
        // What is mounted there would be emptied first.
        if is_mount_point(&self.paths(name).merged()) {
            return Err(Error::Failed(format!(
                "VM `{name}` is prepared to run: its project is mounted at {}; stop it first",
                self.paths(name).merged().display()
            )));
        }
        fault::point("delete-begin");
        let trash = {
            let _lock = self.lock()?;
            let trash = tempfile::Builder::new()
                .prefix(".trash-")
                .tempdir_in(&self.root)
                .map_err(Error::io("create a directory in", &self.root))?
                .keep();
            // Onto an empty directory, rename(2) is atomic.
            match std::fs::rename(&dir, &trash) {
                Ok(()) => trash,
                Err(error) => {
                    let _ = std::fs::remove_dir(&trash);
                    return Err(match error.kind() {
                        std::io::ErrorKind::NotFound => Error::NoSuchVm(name.clone()),
                        _ => Error::io("delete", &dir)(error),
                    });
                }
            }
        };
        fault::point("delete-renamed");
        remove_tree(&trash)
    }

    /// Throws away the project's changes: the upper layer becomes empty.
    pub fn reset_overlay(&self, name: &VmName) -> Result<()> {
        let paths = self.paths(name);
        for dir in [paths.upper(), paths.work()] {
            remove_tree(&dir)?;
            std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(Error::io("create", &dir))?;
        }
        Ok(())
    }

    /// Removes what a crash left half made or half deleted; returns what it removed.
    pub fn sweep(&self) -> Result<Vec<PathBuf>> {
        let _lock = self.lock()?;
        let unfinished = self.unfinished()?;
        unfinished.iter().try_for_each(|dir| remove_tree(dir))?;
        Ok(unfinished)
    }

    /// What is half made or half deleted: by a crash, or at this moment.
    pub fn unfinished(&self) -> Result<Vec<PathBuf>> {
        let mut unfinished = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(Error::io("list", &self.root))? {
            let entry = entry.map_err(Error::io("list", &self.root))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".new-") || name.starts_with(".trash-") {
                unfinished.push(entry.path());
            }
        }
        Ok(unfinished)
    }

    /// Removes VMs of one command that are older than `age`. For a keeper that starts: none of them runs, and younger
    /// ones may be on their way to it.
    pub fn sweep_ephemeral(&self, age: Duration) -> Result<Vec<VmName>> {
        let mut swept = Vec::new();
        for (name, vm) in self.list()? {
            let stale = |vm: &StoredVm| {
                vm.spec.ephemeral && vm.state.created_at.saturating_add(age.as_secs()) < now()
            };
            if vm.is_ok_and(|vm| stale(&vm)) {
                self.delete(&name)?;
                swept.push(name);
            }
        }
        Ok(swept)
    }
}
