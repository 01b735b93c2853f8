//! What a shell on the host learns of the VM.

use crate::plan::Plan;
use crate::quote::shell;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

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
#[derive(Clone, Debug, Deserialize)]
pub struct StatusSpec {
    /// Its network; none without one.
    #[serde(default)]
    pub network: Option<StatusNetwork>,
}

/// The network.
#[derive(Clone, Debug, Deserialize)]
pub struct StatusNetwork {
    /// `192.168.100.10/24`.
    pub address: String,
}

/// Lines for a POSIX shell that export the VM's address, ports and the variables of its services, as they are reached
/// from the host. Services without a forward have no variables.
pub fn exports(plan: &Plan, status: Option<&VmStatus>) -> String {
    let project = plan.project.to_string_lossy().into_owned();
    let mut all = BTreeMap::from([("MICROVM_PROJECT".to_owned(), project)]);
    if let Some(status) = status {
        let network = status.spec.as_ref().and_then(|spec| spec.network.as_ref());
        if let Some(address) = network.and_then(|network| network.address.split('/').next()) {
            all.insert("MICROVM_IP".to_owned(), address.to_owned());
        }
        let host = |guest: u16| {
            let leads = |one: &&StatusForward| one.guest == guest && one.proto == "tcp";
            status.forwards.iter().find(leads).map(|one| one.host)
        };
        for planned in &plan.forwards {
            all.extend(host(planned.forward.guest).map(|port| (planned.variable.clone(), port.to_string())));
        }
        for service in &plan.services {
            let ports: Option<BTreeMap<String, u16>> =
                service.ports.iter().map(|(label, guest)| Some((label.clone(), host(*guest)?))).collect();
            all.extend(ports.map(|ports| service.variables_with(&ports)).unwrap_or_default());
        }
    }
    let mut text = String::new();
    for (name, value) in all {
        let _ = writeln!(text, "export {name}={}", shell(&value));
    }
    text
}

/// The command that makes and starts the VM of a plan.
pub fn create_command(plan: &Plan) -> String {
    let mut words = ["mvm", "create", plan.name.as_str(), "--project"].map(ToOwned::to_owned).to_vec();
    words.push(plan.project.to_string_lossy().into_owned());
    for planned in &plan.forwards {
        words.extend(["--port".to_owned(), format!("{}:{}", planned.forward.host, planned.forward.guest)]);
    }
    for (name, value) in &plan.env {
        words.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    words.push("--start".to_owned());
    words.iter().map(|word| shell(word)).collect::<Vec<_>>().join(" ")
}
