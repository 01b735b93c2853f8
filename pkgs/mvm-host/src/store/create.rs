//! Makes VMs: several at once, each by the rename of a complete directory.

use super::files::{Durability, remove_tree, sync_dir, write_new};
use super::state::new_machine_id;
use super::{ForwardsLock, Store, VmPaths, VmState, forwards, json, now, ssh_host_alias, workload};
use crate::net::topology::Topology;
use crate::{Error, Result, fault, keys};
use mvm_spec::VmSpec;
use mvm_spec::latest::Network;
use mvm_spec::workload::Workload;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// A VM to be made.
#[derive(Clone, Debug)]
pub struct NewVm {
    /// What it is. Its forwards stay as long as the VM.
    pub spec: VmSpec,
    /// More forwards, which can be removed again.
    pub forwards: Vec<mvm_spec::forward::Forward>,
    /// What runs in it by itself.
    pub workload: Option<Workload>,
}

impl Store {
    /// Makes VMs: all of `drafts` or none.
    ///
    /// A draft with a network gets a free place of `topology`, and keeps its peers and egress. Names that are taken, and a
    /// full subnet, are found before anything is written. Returns the specs as written.
    pub fn create(&self, drafts: Vec<VmSpec>, topology: &dyn Topology) -> Result<Vec<VmSpec>> {
        let lock = self.lock_forwards()?;
        let vms =
            drafts.into_iter().map(|spec| NewVm { spec, forwards: Vec::new(), workload: None }).collect();
        self.create_with(&lock, vms, topology)
    }

    /// As [`Store::create`], with forwards that the holder of the lock has found to be free.
    pub fn create_with(
        &self,
        _forwards: &ForwardsLock,
        vms: Vec<NewVm>,
        topology: &dyn Topology,
    ) -> Result<Vec<VmSpec>> {
        let (mut drafts, more): (Vec<VmSpec>, Vec<_>) =
            vms.into_iter().map(|NewVm { spec, forwards, workload }| (spec, (forwards, workload))).unzip();
        let _lock = self.lock()?;
        if let Some(draft) = drafts.iter().find(|draft| self.contains(&draft.name)) {
            return Err(Error::NameTaken(draft.name.clone()));
        }
        if drafts.iter().any(|draft| draft.network.is_some()) {
            let mut taken: Vec<Network> =
                self.list()?.into_iter().filter_map(|(_, vm)| vm.ok()?.spec.network).collect();
            let existing = taken.len();
            for VmSpec { name, network, .. } in &mut drafts {
                let Some(network) = network else { continue };
                let (egress, peers) =
                    (std::mem::take(&mut network.egress), std::mem::take(&mut network.peers));
                let place = topology.place(name, &taken).map_err(|error| match error {
                    // Of those that there are; the drafts before this one will not be.
                    Error::SubnetFull { subnet, .. } => Error::SubnetFull { subnet, used: existing },
                    other => other,
                })?;
                *network = Network { egress, peers, ..place };
                taken.push(network.clone());
            }
        }
        let mut made: Vec<PathBuf> = Vec::new();
        let undo = |made: &[PathBuf]| {
            for dir in made {
                // The error that led here is the one to report; `sweep` finds what stays.
                let _ = remove_tree(dir);
            }
        };
        for (draft, (forwards, workload)) in drafts.iter().zip(&more) {
            match self.create_dir(draft, forwards, workload.as_ref()) {
                Ok(dir) => made.push(dir),
                Err(error) => {
                    undo(&made);
                    return Err(error);
                }
            }
        }
        fault::point("create-made");
        for (draft, dir) in drafts.iter().zip(&made) {
            let place = self.paths(&draft.name).dir;
            if let Err(error) = std::fs::rename(dir, &place) {
                undo(&made);
                undo(&drafts.iter().map(|draft| self.paths(&draft.name).dir).collect::<Vec<_>>());
                return Err(Error::io("create", &place)(error));
            }
            fault::point("create-first");
        }
        if drafts.iter().any(|draft| !draft.ephemeral) {
            sync_dir(&self.root)?;
        }
        Ok(drafts)
    }

    /// A complete VM directory under a temporary name.
    pub(super) fn create_dir(
        &self,
        spec: &VmSpec,
        added: &[mvm_spec::forward::Forward],
        workload: Option<&Workload>,
    ) -> Result<PathBuf> {
        let durability = if spec.ephemeral { Durability::ProcessEnd } else { Durability::PowerLoss };
        let dir = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&self.root)
            .map_err(Error::io("create a directory in", &self.root))?;
        let paths = VmPaths { dir: dir.path().to_owned() };
        for sub in ["ssh", "overlay", "overlay/upper", "overlay/work"] {
            let sub = paths.dir.join(sub);
            std::fs::DirBuilder::new().mode(0o700).create(&sub).map_err(Error::io("create", &sub))?;
        }
        let host = keys::generate(&format!("host key of {}", spec.name))?;
        let user = keys::generate(&format!("user key of {}", spec.name))?;
        let known = format!("{} {}\n", ssh_host_alias(&spec.name), host.public);
        let state =
            VmState { version: 1, created_at: now(), machine_id: new_machine_id()?, ..VmState::default() };
        for (path, text) in [
            (paths.host_key(), host.private),
            (paths.dir.join("ssh/host_key.pub"), host.public + "\n"),
            (paths.user_key(), user.private),
            (paths.dir.join("ssh/user_key.pub"), user.public + "\n"),
            (paths.known_hosts(), known),
            (paths.state(), json(&state, &paths.state())?),
            (paths.spec(), json(spec, &paths.spec())?),
        ] {
            write_new(&path, text.as_bytes(), durability)?;
        }
        if let Some(workload) = workload {
            workload::write_first(&paths, workload, durability)?;
        }
        forwards::write_first(&paths, &spec.forwards, added, durability)?;
        if durability == Durability::PowerLoss {
            sync_dir(&paths.dir.join("ssh"))?;
            sync_dir(&paths.dir)?;
        }
        Ok(dir.keep())
    }
}
