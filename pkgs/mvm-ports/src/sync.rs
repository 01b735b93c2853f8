//! Makes what is served be what is stored, for all VMs that run.

use crate::serving::Serving;
use crate::{Result, maps};
use mvm_host::fault;
use mvm_host::keeper::leftovers;
use mvm_host::ports::by_rules;
use mvm_host::ports::proxy::protocol::{Refusal, VmForwards};
use mvm_host::realm::{Realm, RealmKind};
use mvm_host::store::Store;
use mvm_spec::VmName;
use mvm_spec::forward::Forward;
use serde::Serialize;
use std::collections::HashSet;
use std::net::Ipv4Addr;

/// What a synchronization found and changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether a proxy runs; without one no VM does, and nothing is served.
    pub running: bool,
    /// The VMs that run.
    pub vms: Vec<VmReport>,
    /// Elements of nft maps that were missing, or should not have been there.
    pub maps: MapsReport,
}

/// A VM that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VmReport {
    /// Its name.
    pub name: VmName,
    /// Whether it is deleted, and its forwards were served still.
    pub deleted: bool,
    /// What was stored and not served.
    pub added: Vec<Forward>,
    /// What was served and not stored.
    pub removed: Vec<Forward>,
    /// Where its forwards led, if not to its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<Ipv4Addr>,
    /// What can't be served yet.
    pub blocked: Vec<Blocked>,
}

/// A forward that can't be served yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// The forward.
    #[serde(flatten)]
    pub forward: Forward,
    /// Why, and what to do.
    pub reason: String,
}

/// Elements of nft maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MapsReport {
    /// How many were missing.
    pub added: usize,
    /// How many should not have been there.
    pub removed: usize,
}

impl Report {
    /// Whether everything was as it should be.
    pub fn unchanged(&self) -> bool {
        self.maps == MapsReport::default()
            && self.vms.iter().all(|vm| {
                !vm.deleted && vm.added.is_empty() && vm.removed.is_empty() && vm.moved_from.is_none()
            })
    }
}

/// Brings proxy and maps to what is stored. Finishes what a crash interrupted. Idempotent.
pub async fn sync(realm: &Realm, store: &Store) -> Result<Report> {
    // Without a directory there are no VMs, and nothing to lock.
    let lock = if realm.state_dir.is_dir() { Some(store.lock_forwards()?) } else { None };
    fault::point("sync-locked");
    let mut serving = Serving::open(realm).await?;
    let Some(served) = serving.list(None).await? else { return nothing_runs(realm).await };
    let mut report = Report { running: true, ..Report::default() };
    let mut elements = Vec::new();
    for vm in served {
        let spec = match store.get(&vm.vm) {
            Ok(stored) => Some(stored.spec),
            Err(mvm_host::Error::NoSuchVm(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(network) = spec.and_then(|spec| spec.network) else {
            serving.clear(&vm.vm).await?;
            report.vms.push(cleared(vm));
            fault::point("sync-first");
            continue;
        };
        let address = network.address.address;
        let wanted: Vec<Forward> = store.forwards(&vm.vm)?.into_iter().map(|stored| stored.forward).collect();
        elements.extend(by_rules(realm.kind, address, &wanted));
        report.vms.push(set(&mut serving, vm, address, wanted).await?);
        fault::point("sync-first");
    }
    if realm.kind == RealmKind::Host {
        let maps::Replaced { added, removed } = maps::replace(&elements).await?;
        report.maps = MapsReport { added: added.len(), removed: removed.len() };
    }
    fault::point("sync-done");
    drop(lock);
    Ok(report)
}

/// Without a keeper no VM runs: elements are what a crash left, and would lead to whoever has the address next.
async fn nothing_runs(realm: &Realm) -> Result<Report> {
    let mut report = Report::default();
    if realm.kind == RealmKind::Host
        && realm.run_dir.is_dir()
        && let Some(_no_keeper) = leftovers::without_keeper(realm)?
    {
        report.maps.removed = maps::clear().await?;
    }
    Ok(report)
}

fn cleared(vm: VmForwards) -> VmReport {
    VmReport {
        name: vm.vm,
        deleted: true,
        added: Vec::new(),
        removed: vm.forwards.into_iter().map(|served| served.forward).collect(),
        moved_from: None,
        blocked: Vec::new(),
    }
}

async fn set(
    serving: &mut Serving,
    vm: VmForwards,
    address: Ipv4Addr,
    wanted: Vec<Forward>,
) -> Result<VmReport> {
    let VmForwards { vm: name, address: from, forwards: served } = vm;
    let there: HashSet<&Forward> = served.iter().map(|served| &served.forward).collect();
    let should: HashSet<&Forward> = wanted.iter().collect();
    let added: Vec<Forward> = wanted.iter().filter(|f| !there.contains(f)).cloned().collect();
    let removed: Vec<Forward> =
        served.iter().map(|served| &served.forward).filter(|f| !should.contains(f)).cloned().collect();
    let moved_from = (from != address).then_some(from);
    let blocked: Vec<Refusal> = if added.is_empty() && removed.is_empty() && moved_from.is_none() {
        let blocked = |served: mvm_host::ports::proxy::protocol::Served| {
            Some(Refusal { reason: served.blocked?, forward: served.forward })
        };
        served.into_iter().filter_map(blocked).collect()
    } else {
        serving.set(&name, address, wanted).await?
    };
    let blocked = blocked
        .into_iter()
        .map(|Refusal { forward, reason }| Blocked { forward, reason: reason.to_string() })
        .collect();
    Ok(VmReport { name, deleted: false, added, removed, moved_from, blocked })
}
