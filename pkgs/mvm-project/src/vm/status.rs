//! What `mvm status` says of a VM.

use super::{Mvm, Said};
use anyhow::Context as _;
use mvm_spec::VmName;
use mvm_spec::workload::ProcessStatus;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// What is needed of `mvm status --json`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct VmStatus {
    /// `running`, `stopped`, …
    pub status: String,
    /// Ports of the host that lead into it.
    #[serde(default)]
    pub forwards: Vec<StatusForward>,
    /// Its spec; none if it can't be read.
    #[serde(default)]
    pub spec: Option<StatusSpec>,
    /// Its processes, while it runs.
    #[serde(default)]
    pub processes: Vec<ProcessStatus>,
    /// Its state; none if it is declared, or damaged.
    #[serde(default)]
    state: Option<serde::de::IgnoredAny>,
    /// What is wrong with a failed or damaged one.
    #[serde(default)]
    pub problem: Option<String>,
}

/// A forward.
#[derive(Clone, Debug, Deserialize)]
pub struct StatusForward {
    /// The host's port.
    pub host: u16,
    /// The guest's.
    pub guest: u16,
    /// `tcp` or `udp`.
    pub proto: String,
}

/// The spec.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct StatusSpec {
    /// Its network; none without one.
    #[serde(default)]
    pub network: Option<StatusNetwork>,
    /// Its project; none without one.
    #[serde(default)]
    pub project: Option<StatusProject>,
}

/// The network.
#[derive(Clone, Debug, Deserialize)]
pub struct StatusNetwork {
    /// `192.168.100.10/24`.
    pub address: String,
}

/// The project.
#[derive(Clone, Debug, Deserialize)]
pub struct StatusProject {
    /// The directory on the host.
    pub path: PathBuf,
}

impl VmStatus {
    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.status == "running"
    }

    /// Whether this host's configuration declares it: what it is, is said there.
    pub fn declared(&self) -> bool {
        self.spec.is_some() && self.state.is_none()
    }

    /// The port of the host that leads to the guest's TCP port `guest`.
    pub fn host_port(&self, guest: u16) -> Option<u16> {
        let leads = |one: &&StatusForward| one.guest == guest && one.proto == "tcp";
        self.forwards.iter().find(leads).map(|one| one.host)
    }

    /// The project that it works on, unless it is `project`.
    pub fn other_project(&self, project: &std::path::Path) -> Option<String> {
        match self.spec.as_ref()?.project.as_ref() {
            None => Some("no project".to_owned()),
            Some(its) if its.path != project => Some(its.path.display().to_string()),
            Some(_) => None,
        }
    }
}

/// What `mvm status` says; nothing if there is no such VM.
///
/// Errors: `mvm` can't be run, takes longer than `patience`, or says what is not understood.
pub fn status(mvm: &dyn Mvm, name: &VmName, patience: Option<Duration>) -> anyhow::Result<Option<VmStatus>> {
    let Said { ok, stdout, stderr } = mvm.call(&["status", name.as_str(), "--json"], None, patience)?;
    if !ok {
        // Told apart from other failures, which must not lead to the making of a VM.
        if stderr.contains("there is no VM") {
            return Ok(None);
        }
        anyhow::bail!("mvm status {name} failed: {}", super::mvm::last_line(&stderr));
    }
    serde_json::from_str(&stdout).map(Some).context(
        "mvm status says what is not understood; update microvm-dev so that mvm and mvm-devenv match",
    )
}
