//! The files of VMs: the one module that writes them.
//!
//! ```text
//! STATE/                      mode 0700
//!   .lock                     flock: exclusive while VMs are created or deleted (names, addresses)
//!   .forwards.lock            flock: exclusive while port forwards change
//!   .new-XXXX/  .trash-XXXX/  a VM half made or half deleted; swept by `sweep`
//!   NAME/
//!     spec.json               immutable
//!     state.json              what changes; replaced atomically, under NAME/.lock
//!     workload.json           what runs in it by itself; replaced atomically, under NAME/.lock
//!     .lock
//!     ssh/host_key{,.pub}     the guest's SSH host key, pinned in known_hosts
//!     ssh/user_key{,.pub}     the key that logs in
//!     ssh/known_hosts
//!     forwards/               port forwards, a file for each port of the host (see `forwards`)
//!     overlay/upper, overlay/work   the project's changes
//!     home.img                home disk (with --persist)
//!     console.log{,.1}        the guest's console
//!     processes/PROCESS.log{,.1}   what the processes of the workload print
//!     vmm.log                 what the VMM and the file server said
//!     merged/                 the project's overlay, mounted, of a declared VM (see `declared`)
//!     identity/               what a declared VM's guest is told at its start: a copy of its keys and machine id
//! ```
//!
//! Every write is: temporary file, fsync, rename, fsync of the directory. A VM appears by the rename of its whole
//! directory and disappears by one, so that no process ever sees half a VM.

mod create;
mod declared;
mod files;
mod forwards;
mod paths;
mod state;
mod sweep;
mod workload;

pub use create::NewVm;
pub use declared::{DECLARED_DIR, Declaration, declared_names, read_declared};
pub use forwards::{ForwardsChange, ForwardsLock, StoredForward};
pub use paths::VmPaths;
pub use state::{Outdated, VmState};

use crate::{Error, Result};
use files::{Durability, lock_file, replace};
use mvm_spec::{VmName, VmSpec};
use nix::fcntl::Flock;
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A VM as stored.
#[derive(Clone, Debug)]
pub struct StoredVm {
    /// What it is.
    pub spec: VmSpec,
    /// What has become of it.
    pub state: VmState,
}

/// The name under which SSH knows a VM (`HostKeyAlias`, `Host` of `mvm ssh-config`).
pub fn ssh_host_alias(name: &VmName) -> String {
    format!("{name}.mvm")
}

/// The VMs of one realm.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in `root` (a realm's state directory), which must exist.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The paths of VM `name`, whether it exists or not.
    pub fn paths(&self, name: &VmName) -> VmPaths {
        VmPaths { dir: self.root.join(name.as_str()) }
    }

    /// All names, sorted. A missing state directory holds none.
    pub fn names(&self) -> Result<Vec<VmName>> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &self.root)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &self.root))?;
            // Our own files begin with `.`, which no VM name does.
            if let Some(name) = entry.file_name().to_str().and_then(|name| VmName::new(name).ok()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// All VMs, sorted by name; one that can't be read is an error of its own and hides no other.
    pub fn list(&self) -> Result<Vec<(VmName, Result<StoredVm>)>> {
        let mut vms = Vec::new();
        for name in self.names()? {
            match self.get(&name) {
                // Deleted since we read the directory.
                Err(Error::NoSuchVm(_)) => {}
                vm => vms.push((name, vm)),
            }
        }
        Ok(vms)
    }

    /// VM `name`.
    pub fn get(&self, name: &VmName) -> Result<StoredVm> {
        let paths = self.paths(name);
        let read = |path: PathBuf| match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !paths.dir.exists() => {
                Err(Error::NoSuchVm(name.clone()))
            }
            Err(error) => Err(Error::io("read", &path)(error)),
        };
        let spec = mvm_spec::parse(&read(paths.spec())?).map_err(|source| Error::Spec {
            name: name.clone(),
            path: paths.spec(),
            source,
        })?;
        let state = serde_json::from_str(&read(paths.state())?)
            .map_err(|source| Error::State { path: paths.state(), source })?;
        Ok(StoredVm { spec, state })
    }

    /// Whether there is a VM `name`.
    pub fn contains(&self, name: &VmName) -> bool {
        self.paths(name).dir.is_dir()
    }

    /// Changes the state of VM `name` by `change`, atomically.
    pub fn update_state(&self, name: &VmName, change: impl FnOnce(&mut VmState)) -> Result<VmState> {
        let lock = self.lock_vm(name)?;
        self.update_state_under(&lock, name, change)
    }

    /// Held while files of VM `name` change.
    fn lock_vm(&self, name: &VmName) -> Result<Flock<File>> {
        let dir = self.paths(name).dir;
        match lock_file(&dir.join(".lock")) {
            Err(_) if !dir.exists() => Err(Error::NoSuchVm(name.clone())),
            lock => lock,
        }
    }

    fn update_state_under(
        &self,
        _lock: &Flock<File>,
        name: &VmName,
        change: impl FnOnce(&mut VmState),
    ) -> Result<VmState> {
        let paths = self.paths(name);
        let StoredVm { spec, mut state } = self.get(name)?;
        change(&mut state);
        let text = json(&state, &paths.state())?;
        let durability = if spec.ephemeral { Durability::ProcessEnd } else { Durability::PowerLoss };
        replace(&paths.state(), text.as_bytes(), durability)?;
        Ok(state)
    }

    fn lock(&self) -> Result<Flock<File>> {
        lock_file(&self.root.join(".lock"))
    }
}

fn json(value: &impl Serialize, path: &Path) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|source| Error::State { path: path.to_owned(), source })?;
    text.push('\n');
    Ok(text)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
