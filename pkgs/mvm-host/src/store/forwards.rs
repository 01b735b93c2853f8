//! The port forwards of VMs, as stored.
//!
//! ```text
//! STATE/.forwards.lock        flock: exclusive while forwards of any VM change
//! STATE/NAME/forwards/        made with the VM, or with its first forward
//!   tcp-8080, udp-53, …       the VM's forwards of that port of the host, as a symbolic link's target: several, if they
//!                             name different addresses
//!   .redo                     a change of several ports under way; whoever locks next finishes it
//!   .tmp                      a file half written; the next write takes its name again
//! ```
//!
//! A file per port keeps a change as cheap with ten thousand forwards as with one. A change of one port is one rename.
//! A change of several is decided by the rename of `.redo`, which says how their files are to be: up to there nothing
//! has changed, from there on everything has, since readers take `.redo` for the truth.

mod disk;

use super::files::{Durability, lock_file};
use super::{Store, VmPaths};
use crate::{Error, Result};
use disk::{file_name, finish, generation, make_dir, put, read_files, read_port, read_redo, write};
use mvm_spec::VmName;
use mvm_spec::forward::{Forward, Protocol};
use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;

/// How often a reader without the lock looks again when it meets a change.
const LOOKS: u32 = 20;

/// A forward of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "disk::Entry", into = "disk::Entry")]
pub struct StoredForward {
    /// The forward.
    pub forward: Forward,
    /// Whether it comes from the VM's spec, and so stays as long as the VM.
    pub declared: bool,
}

/// The lock on all forwards of a store, held until dropped.
#[derive(Debug)]
pub struct ForwardsLock {
    _file: Flock<File>,
}

/// What [`Store::change_forwards`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardsChange {
    /// New ones.
    pub added: Vec<Forward>,
    /// Those that are gone.
    pub removed: Vec<Forward>,
}

impl VmPaths {
    /// Directory of the VM's forwards.
    pub fn forwards(&self) -> PathBuf {
        self.dir.join("forwards")
    }
}

impl Store {
    /// Waits for the lock on all forwards, and finishes a change that a crash interrupted.
    ///
    /// Who makes something of stored forwards (serves them, checks new ones against them) holds it from reading to
    /// having done so; otherwise a change between the two would be lost. Locks before VMs are created, not after.
    pub fn lock_forwards(&self) -> Result<ForwardsLock> {
        let lock = ForwardsLock { _file: lock_file(&self.root.join(".forwards.lock"))? };
        for name in self.names()? {
            let dir = self.paths(&name).forwards();
            if let Some(redo) = read_redo(&dir)? {
                finish(&dir, &redo, Durability::PowerLoss)?;
            }
        }
        Ok(lock)
    }

    /// The forwards of VM `name`, sorted by protocol, port and address; none if there is no such VM.
    pub fn forwards(&self, name: &VmName) -> Result<Vec<StoredForward>> {
        let dir = self.paths(name).forwards();
        let look = || Ok::<_, Error>((generation(&dir)?, read_redo(&dir)?));
        let mut before = look()?;
        for _ in 0..LOOKS {
            let files = read_files(&dir, before.1.as_ref())?;
            let after = look()?;
            if before == after {
                return Ok(sorted(files));
            }
            before = after;
        }
        let _lock = self.lock_forwards()?;
        Ok(sorted(read_files(&dir, None)?))
    }

    /// The forwards of VM `name` that listen on `port` of the host. For holders of the lock: a change of several ports
    /// may be half done otherwise.
    pub fn forwards_on(
        &self,
        _lock: &ForwardsLock,
        name: &VmName,
        proto: Protocol,
        port: u16,
    ) -> Result<Vec<StoredForward>> {
        read_port(&self.paths(name).forwards().join(file_name(proto, port)))
    }

    /// The forwards of all VMs that listen on `port` of the host: one look for each VM, however many forwards it has.
    pub fn holders(
        &self,
        lock: &ForwardsLock,
        proto: Protocol,
        port: u16,
    ) -> Result<Vec<(VmName, StoredForward)>> {
        let mut holders = Vec::new();
        for name in self.names()? {
            let forwards = self.forwards_on(lock, &name, proto, port)?;
            holders.extend(forwards.into_iter().map(|forward| (name.clone(), forward)));
        }
        Ok(holders)
    }

    /// Removes and adds forwards of VM `name`: all of it or, whenever this process ends, nothing. What is there already
    /// and what is gone already is success.
    ///
    /// Errors: there is no such VM; two forwards of the VM would listen on the same address and port.
    pub fn change_forwards(
        &self,
        lock: &ForwardsLock,
        name: &VmName,
        add: &[Forward],
        remove: &[Forward],
    ) -> Result<ForwardsChange> {
        let dir = self.paths(name).forwards();
        let ephemeral = self.get(name)?.spec.ephemeral;
        let mut change = ForwardsChange::default();
        let mut files: BTreeMap<String, Vec<StoredForward>> = BTreeMap::new();
        for (forwards, adding) in [(remove, false), (add, true)] {
            for forward in forwards {
                let file = file_name(forward.proto, forward.host);
                let stored = match files.entry(file) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let stored = self.forwards_on(lock, name, forward.proto, forward.host)?;
                        new.insert(stored)
                    }
                };
                let place = stored.iter().position(|stored| stored.forward == *forward);
                match (adding, place) {
                    (true, None) => {
                        if let Some(other) = stored.iter().find(|other| other.forward.conflicts(forward)) {
                            return Err(Error::Failed(format!(
                                "VM `{name}` can't have the forwards {} and {forward}: both listen on the same address \
                                 and port of the host",
                                other.forward
                            )));
                        }
                        stored.push(StoredForward { forward: forward.clone(), declared: false });
                        change.added.push(forward.clone());
                    }
                    (false, Some(place)) => {
                        stored.remove(place);
                        change.removed.push(forward.clone());
                    }
                    (true, Some(_)) | (false, None) => {}
                }
            }
        }
        let changed: BTreeSet<String> = change
            .added
            .iter()
            .chain(&change.removed)
            .map(|forward| file_name(forward.proto, forward.host))
            .collect();
        files.retain(|file, _| changed.contains(file));
        if files.is_empty() {
            return Ok(change);
        }
        let durability = if ephemeral { Durability::ProcessEnd } else { Durability::PowerLoss };
        let gone = |error| if self.contains(name) { error } else { Error::NoSuchVm(name.clone()) };
        make_dir(&dir, durability).and_then(|()| write(&dir, files, durability)).map_err(gone)?;
        Ok(change)
    }
}

impl Store {
    /// Makes `declared` the forwards of VM `name` that come from its spec, all of it or nothing. Those added at run time
    /// stay, except where a declared one listens on the same address and port.
    pub(super) fn declare_forwards(
        &self,
        _lock: &ForwardsLock,
        name: &VmName,
        declared: &[Forward],
    ) -> Result<()> {
        let dir = self.paths(name).forwards();
        let before = sorted(read_files(&dir, None)?);
        let mut files: BTreeMap<String, (Vec<StoredForward>, Vec<StoredForward>)> = BTreeMap::new();
        for stored in before {
            let file = files.entry(file_name(stored.forward.proto, stored.forward.host)).or_default();
            if !stored.declared && !declared.iter().any(|forward| forward.conflicts(&stored.forward)) {
                file.1.push(stored.clone());
            }
            file.0.push(stored);
        }
        for forward in declared {
            let file = files.entry(file_name(forward.proto, forward.host)).or_default();
            file.1.push(StoredForward { forward: forward.clone(), declared: true });
        }
        let changed: BTreeMap<String, Vec<StoredForward>> = files
            .into_iter()
            .filter(|(_, (before, after))| sorted(after.clone()) != *before)
            .map(|(file, (_, after))| (file, after))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        make_dir(&dir, Durability::PowerLoss)?;
        write(&dir, changed, Durability::PowerLoss)
    }
}

/// Writes the forwards of a VM that is being made, into its directory under a temporary name.
pub(super) fn write_first(
    paths: &VmPaths,
    declared: &[Forward],
    added: &[Forward],
    durability: Durability,
) -> Result<()> {
    let mut files: BTreeMap<String, Vec<StoredForward>> = BTreeMap::new();
    for (forwards, declared) in [(declared, true), (added, false)] {
        for forward in forwards {
            let file = files.entry(file_name(forward.proto, forward.host)).or_default();
            file.push(StoredForward { forward: forward.clone(), declared });
        }
    }
    if files.is_empty() {
        return Ok(());
    }
    let dir = paths.forwards();
    make_dir(&dir, durability)?;
    put(&dir, &files, durability)
}

fn sorted(mut forwards: Vec<StoredForward>) -> Vec<StoredForward> {
    forwards.sort_by_key(|StoredForward { forward, .. }| {
        (forward.proto, forward.host, forward.address, forward.guest)
    });
    forwards
}

#[cfg(test)]
mod tests;
