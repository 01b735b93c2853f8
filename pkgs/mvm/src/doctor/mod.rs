//! What this host has for VMs. Adding a check: a function from [`Context`] to [`Check`] in one of the files here, and
//! its line in [`CHECKS`].

mod guest;
mod kernel;
mod network;
mod programs;
mod realm;

use crate::context::Context;
use serde::Serialize;
use std::path::PathBuf;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// VMs run, but something is slower or less than it could be.
    Warn,
    /// VMs don't run.
    Fail,
}

/// A check's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found.
    pub finding: String,
    /// What to do, if there is something to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, finding: finding.into(), advice: None }
    }
    fn warn(name: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, finding: finding.into(), advice: Some(advice.into()) }
    }
    fn fail(name: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, finding: finding.into(), advice: Some(advice.into()) }
    }
}

/// All checks, in the order in which they are shown.
const CHECKS: &[fn(&Context) -> Check] = &[
    programs::qemu,
    programs::pasta,
    programs::nft,
    programs::mkfs,
    network::dnsmasq,
    guest::kernel,
    guest::init,
    kernel::namespaces,
    kernel::overlay,
    kernel::tun,
    kernel::acceleration,
    guest::templates,
    kernel::limits,
    network::settings,
    network::addresses,
    network::rules,
    network::forwarding,
    network::foreign_rules,
    realm::state,
    realm::memory,
    realm::keeper,
];

/// Runs all checks; with `fix`, removes what a crash left behind.
pub fn run(context: &Context, fix: bool) -> Vec<Check> {
    // Several checks need the realm's directories; if they can't be made, `realm::state` says why.
    let _ = context.realm.create_dirs();
    let mut checks: Vec<Check> = CHECKS.iter().map(|check| check(context)).collect();
    checks.push(realm::leftovers(context, fix));
    checks
}

/// Where a program is: PATH, then the directories of system programs, which an ordinary user's PATH may lack.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}
