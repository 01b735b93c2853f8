//! What a shell on the host learns of the VM.

use crate::plan::Plan;
use crate::quote::shell;
use crate::vm::VmStatus;
use std::collections::BTreeMap;
use std::fmt::Write as _;

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
        let host = |guest: u16| status.host_port(guest);
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
