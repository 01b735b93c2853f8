//! A change of forwards as one transaction: lock, plan, try the ports, store, serve; what fails takes back what was
//! done before it.
//!
//! The store comes before the proxy, and the lock is held throughout. So whoever starts a VM, or synchronizes, reads
//! either nothing of a change or all of it, and a crash in between leaves what one [`crate::sync`] finishes.

use crate::plan::{self, Held, Removals};
use crate::removal::Removal;
use crate::serving::{Now, Serving};
use crate::{Error, Result, listeners};
use mvm_host::fault;
use mvm_host::realm::{Realm, RealmKind};
use mvm_host::store::{ForwardsLock, NewVm, Store, StoredForward};
use mvm_spec::forward::{Forward, ForwardRequest, Protocol};
use mvm_spec::latest::Network;
use mvm_spec::workload::Workload;
use mvm_spec::{VmName, VmSpec};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;

/// How an addition went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// What the VM has that it had not, with the ports that were chosen.
    pub new: Vec<Forward>,
    /// What it had already.
    pub already: Vec<Forward>,
    /// Whether they are served by now.
    pub now: Now,
}

/// How a removal went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What is gone.
    pub removed: Vec<Forward>,
    /// What matched nothing.
    pub absent: Vec<Removal>,
    /// Whether the VM runs.
    pub now: Now,
}

/// What to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// These.
    These(Vec<Removal>),
    /// All but those of the VM's spec.
    All,
}

/// A VM to be made.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it is.
    pub spec: VmSpec,
    /// Forwards it is to have besides those of the spec.
    pub requests: Vec<ForwardRequest>,
    /// What runs in it by itself.
    pub workload: Option<Workload>,
}

/// A VM that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// As written.
    pub spec: VmSpec,
    /// All its forwards.
    pub forwards: Vec<Forward>,
}

/// Adds forwards to VM `vm`, all or none; they are served at once if it runs, else when it starts.
///
/// Errors: no such VM, no network, or a port that can't be had ([`Error`] says why); then nothing has changed.
pub async fn add(realm: &Realm, store: &Store, vm: &VmName, requests: &[ForwardRequest]) -> Result<Added> {
    let address = network(store, vm)?.address.address;
    let lock = store.lock_forwards()?;
    fault::point("port-locked");
    let mut claims = Claims::new(realm.kind, store, &lock);
    let (new, already) = claims.claim(vm, requests)?;
    let mut serving = Serving::open(realm).await?;
    store.change_forwards(&lock, vm, &new, &[])?;
    fault::point("port-stored");
    let now = match serving.add(vm, address, &new).await {
        Ok(now) => now,
        Err(error) => return Err(undone(error, store.change_forwards(&lock, vm, &[], &new).map(drop))),
    };
    fault::point("port-served");
    Ok(Added { new, already, now })
}

/// Removes forwards of VM `vm`, all or none, and closes their connections. What is gone already is success.
pub async fn remove(realm: &Realm, store: &Store, vm: &VmName, which: &Which) -> Result<Removed> {
    let network = store.get(vm)?.spec.network;
    let lock = store.lock_forwards()?;
    fault::point("port-locked");
    let stored = store.forwards(vm)?;
    let Removals { remove, absent } = match which {
        Which::These(requests) => plan::removals(vm, requests, &stored)?,
        Which::All => plan::remove_all(&stored),
    };
    // Without a network there are none.
    let address = network.map_or(Ipv4Addr::UNSPECIFIED, |network| network.address.address);
    let mut serving = Serving::open(realm).await?;
    store.change_forwards(&lock, vm, &[], &remove)?;
    fault::point("port-stored");
    let now = match serving.remove(vm, address, &remove).await {
        Ok(now) => now,
        Err(error) => {
            return Err(undone(error, store.change_forwards(&lock, vm, &remove, &[]).map(drop)));
        }
    };
    fault::point("port-served");
    Ok(Removed { removed: remove, absent, now })
}

/// Makes VMs with their forwards, all or none. Forwards are checked as by [`add`],
/// and against each other.
pub async fn create(realm: &Realm, store: &Store, drafts: Vec<Draft>) -> Result<Vec<Made>> {
    let topology = realm.config.topology()?;
    let lock = store.lock_forwards()?;
    let mut claims = Claims::new(realm.kind, store, &lock);
    let mut vms = Vec::with_capacity(drafts.len());
    for Draft { spec, requests, workload } in drafts {
        // A name that is taken has forwards of its own, which are not this draft's.
        if store.contains(&spec.name) {
            return Err(mvm_host::Error::NameTaken(spec.name).into());
        }
        if spec.network.is_none() && !(requests.is_empty() && spec.forwards.is_empty()) {
            return Err(Error::NoNetwork(spec.name));
        }
        let declared: Vec<ForwardRequest> = spec.forwards.iter().map(request).collect();
        claims.claim(&spec.name, &declared)?;
        let (forwards, _) = claims.claim(&spec.name, &requests)?;
        vms.push(NewVm { spec, forwards, workload });
    }
    let added: Vec<Vec<Forward>> = vms.iter().map(|vm| vm.forwards.clone()).collect();
    let specs = store.create_with(&lock, vms, topology.as_ref())?;
    let made = specs.into_iter().zip(added).map(|(spec, added)| {
        let forwards = spec.forwards.iter().cloned().chain(added).collect();
        Made { spec, forwards }
    });
    Ok(made.collect())
}

fn request(forward: &Forward) -> ForwardRequest {
    let Forward { proto, address, host, guest } = *forward;
    ForwardRequest { proto, address, host, guest, count: 1 }
}

fn network(store: &Store, vm: &VmName) -> Result<Network> {
    store.get(vm)?.spec.network.ok_or_else(|| Error::NoNetwork(vm.clone()))
}

fn undone(first: Error, restored: mvm_host::Result<()>) -> Error {
    match restored {
        Ok(()) => first,
        Err(second) => Error::NotUndone { first: Box::new(first), second: Box::new(second.into()) },
    }
}

/// Ports that this command takes, before they are stored: on top of what is stored already.
struct Claims<'a> {
    kind: RealmKind,
    store: &'a Store,
    lock: &'a ForwardsLock,
    claimed: RefCell<HashMap<(Protocol, u16), Held>>,
}

impl<'a> Claims<'a> {
    fn new(kind: RealmKind, store: &'a Store, lock: &'a ForwardsLock) -> Self {
        Self { kind, store, lock, claimed: RefCell::default() }
    }

    /// Takes what is asked for to VM `vm`: what it has not yet, with ports chosen, and what it has. Every port was tried
    /// out on the host.
    fn claim(&mut self, vm: &VmName, requests: &[ForwardRequest]) -> Result<(Vec<Forward>, Vec<Forward>)> {
        let holders = |proto, port| self.holders(proto, port);
        let plan::Additions { fixed, any, already } = plan::additions(vm, requests, &holders)?;
        fixed.iter().try_for_each(|forward| listeners::check(self.kind, forward))?;
        let mut new = Vec::with_capacity(fixed.len() + any.len());
        for forward in fixed {
            self.take(vm, &forward);
            new.push(forward);
        }
        for forward in any {
            let taken = |candidate: &Forward| {
                Ok(!plan::is_free(candidate, &|proto, port| self.holders(proto, port))?)
            };
            let chosen = listeners::choose(&forward, &taken)?;
            self.take(vm, &chosen);
            new.push(chosen);
        }
        Ok((new, already))
    }

    fn take(&self, vm: &VmName, forward: &Forward) {
        let stored = StoredForward { forward: forward.clone(), declared: false };
        let mut claimed = self.claimed.borrow_mut();
        claimed.entry((forward.proto, forward.host)).or_default().push((vm.clone(), stored));
    }

    fn holders(&self, proto: Protocol, port: u16) -> Result<Held> {
        let mut holders = self.store.holders(self.lock, proto, port)?;
        holders.extend(self.claimed.borrow().get(&(proto, port)).into_iter().flatten().cloned());
        Ok(holders)
    }
}
