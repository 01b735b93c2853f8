//! What shells complete: the names of VMs, and of processes in them.

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use mvm_host::realm::Realm;
use mvm_host::store::{DECLARED_DIR, Store, declared_names};
use mvm_spec::VmName;
use std::collections::BTreeSet;
use std::path::Path;

/// Completes an argument with the names of the stored and the declared VMs.
pub fn vm_names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(""))
}

/// Completes an argument of `mvm cp` with `NAME:`; files are completed by the shell.
pub fn vm_prefixes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(":"))
}

/// Completes an argument with the names of processes of any VM: which VM is meant is not known here.
pub fn process_names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let Ok(realm) = Realm::resolve(None) else { return Vec::new() };
        let store = Store::open(realm.state_dir);
        let names: BTreeSet<String> = store
            .names()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|name| store.workload(&name).ok()?)
            .flat_map(|workload| workload.processes)
            .map(|process| process.name)
            .collect();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// A completion must not fail aloud: without a readable store there are no names.
fn candidates(suffix: &str) -> Vec<CompletionCandidate> {
    let own = Realm::resolve(None).and_then(|realm| Store::open(realm.state_dir).names()).unwrap_or_default();
    let declared = declared_names(Path::new(DECLARED_DIR)).unwrap_or_default();
    let names: BTreeSet<VmName> = own.into_iter().chain(declared).collect();
    names.into_iter().map(|name| CompletionCandidate::new(format!("{name}{suffix}"))).collect()
}
