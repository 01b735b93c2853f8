//! What shells complete: the names of VMs.

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use mvm_host::realm::Realm;
use mvm_host::store::Store;

/// Completes an argument with the names of the stored VMs.
pub fn vm_names() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(""))
}

/// Completes an argument of `mvm cp` with `NAME:`; files are completed by the shell.
pub fn vm_prefixes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| candidates(":"))
}

/// A completion must not fail aloud: without a readable store there are no names.
fn candidates(suffix: &str) -> Vec<CompletionCandidate> {
    let names = Realm::resolve(None).and_then(|realm| Store::open(realm.state_dir).names());
    names
        .unwrap_or_default()
        .into_iter()
        .map(|name| CompletionCandidate::new(format!("{name}{suffix}")))
        .collect()
}
