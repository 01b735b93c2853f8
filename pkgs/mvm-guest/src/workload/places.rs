//! The directories of processes.
//!
//! ```text
//! STATE/NAME/            /home/.mvm/NAME on a home disk, else /var/lib/mvm/NAME, which goes with the machine
//!   state/               $STATE_DIRECTORY
//!   setup-done           its setup ran: once as long as the state lasts
//! RUNTIME/NAME/          /run/mvm/processes/NAME: $RUNTIME_DIRECTORY
//! ```

use crate::mounts::make_dir;
use crate::ssh::Account;
use anyhow::Context;
use std::fs::File;
use std::os::unix::fs::{chown, lchown};
use std::path::{Path, PathBuf};

/// Where the directories of all processes are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Of state.
    pub state: PathBuf,
    /// Of what goes with the process.
    pub runtime: PathBuf,
}

/// The directories of one process.
#[derive(Clone, Debug)]
pub struct Directories {
    dir: PathBuf,
    /// `$STATE_DIRECTORY`.
    pub state: PathBuf,
    /// `$RUNTIME_DIRECTORY`.
    pub runtime: PathBuf,
}

impl Places {
    /// Those of a guest, with or without a home disk.
    pub fn of_guest(home_disk: bool) -> Self {
        let state = if home_disk { "/home/.mvm" } else { "/var/lib/mvm" };
        Self { state: state.into(), runtime: "/run/mvm/processes".into() }
    }

    /// Those of process `name`.
    pub fn of(&self, name: &str) -> Directories {
        let dir = self.state.join(name);
        Directories { state: dir.join("state"), dir, runtime: self.runtime.join(name) }
    }
}

impl Directories {
    /// Makes them, `account`'s: the state directory if it is not there, the other anew.
    pub fn make(&self, account: &Account) -> anyhow::Result<()> {
        make_dir(&self.dir.to_string_lossy(), 0o755)?;
        make_dir(&self.state.to_string_lossy(), 0o700)?;
        // Also of an earlier life, in which the process ran as another user.
        let owner = std::os::unix::fs::MetadataExt::uid(
            &self.state.metadata().with_context(|| format!("can't examine {}", self.state.display()))?,
        );
        if owner != account.uid {
            own_tree(&self.state, account)?;
        }
        self.remove_runtime();
        make_dir(&self.runtime.to_string_lossy(), 0o700)?;
        own(&self.runtime, account)
    }

    /// Removes what goes with the process.
    pub fn remove_runtime(&self) {
        // What can't be removed, a mount say, shows when the directory is made anew.
        let _ = std::fs::remove_dir_all(&self.runtime);
    }

    /// Whether the process' setup ran.
    pub fn is_set_up(&self) -> bool {
        self.marker().exists()
    }

    /// Notes that its setup ran.
    pub fn note_setup(&self) -> anyhow::Result<()> {
        let marker = self.marker();
        File::create(&marker)
            .and_then(|file| file.sync_all())
            .with_context(|| format!("can't note the setup in {}", marker.display()))
    }

    /// Beside the state, not in it: a directory that must be empty to be made use of (initdb) is.
    fn marker(&self) -> PathBuf {
        self.dir.join("setup-done")
    }
}

fn own(path: &Path, account: &Account) -> anyhow::Result<()> {
    chown(path, Some(account.uid), Some(account.gid))
        .with_context(|| format!("can't give {} to {}", path.display(), account.name))
}

fn own_tree(dir: &Path, account: &Account) -> anyhow::Result<()> {
    own(dir, account)?;
    let entries = std::fs::read_dir(dir).with_context(|| format!("can't list {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("can't list {}", dir.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            own_tree(&entry.path(), account)?;
        } else {
            lchown(entry.path(), Some(account.uid), Some(account.gid))
                .with_context(|| format!("can't give {} to {}", entry.path().display(), account.name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_stays_and_what_goes_with_the_process_is_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let places = Places { state: root.path().join("state"), runtime: root.path().join("run") };
        let account = Account {
            name: "me".to_owned(),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
            home: "/".into(),
            shell: "/bin/sh".into(),
        };
        let directories = places.of("db");
        directories.make(&account).unwrap();
        assert!(!directories.is_set_up());
        for dir in [&directories.state, &directories.runtime] {
            std::fs::write(dir.join("file"), "").unwrap();
        }
        directories.note_setup().unwrap();
        directories.make(&account).unwrap();
        assert!(directories.is_set_up());
        assert!(directories.state.join("file").exists());
        assert!(!directories.runtime.join("file").exists());
        directories.remove_runtime();
        assert!(!directories.runtime.exists());
        assert!(!places.of("other").is_set_up());
    }
}
