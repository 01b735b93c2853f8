//! Ports of the host that lead to services and processes.

use super::{PlannedProcess, PlannedService};
use crate::position::Position;
use crate::project::Note;
use mvm_spec::forward::Forward;
use mvm_spec::forward::Protocol;
use serde::Serialize;

/// The first port that every user may listen on (ip(7), `ip_unprivileged_port_start`).
const UNPRIVILEGED: u16 = 1024;

/// A forward of a VM that is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedForward {
    /// Whose: a service's or process' name, and the port's if it has several.
    pub label: String,
    /// The guest's port, and the same of the host, or 0, any free one, where that belongs to root. If it is taken when the
    /// VM is made, another free one takes its place.
    pub forward: Forward,
    /// The variable that says which port of the host it became.
    pub variable: String,
}

/// Plans a forward for each port; of two on one port, the first.
pub fn planned(
    services: &[PlannedService],
    processes: &[PlannedProcess],
    notes: &mut Vec<Note>,
) -> Vec<PlannedForward> {
    let of_service =
        services.iter().map(|one| (one.name.as_str(), &one.at, one.ports.iter().collect::<Vec<_>>()));
    let of_process =
        processes.iter().map(|one| (one.name.as_str(), &one.at, one.ports.iter().collect::<Vec<_>>()));
    let mut forwards: Vec<PlannedForward> = Vec::new();
    for (name, at, ports) in of_service.chain(of_process) {
        let many = ports.len() > 1;
        for (label, port) in ports {
            let label = if many { format!("{name}-{label}") } else { name.to_owned() };
            add(label, *port, at, &mut forwards, notes);
        }
    }
    forwards
}

fn add(label: String, port: u16, at: &Position, forwards: &mut Vec<PlannedForward>, notes: &mut Vec<Note>) {
    if port == 0 {
        return;
    }
    if let Some(there) = forwards.iter().find(|there| there.forward.guest == port) {
        let text = format!(
            "{label} and {} both want port {port} of the VM: one of them will not start",
            there.label
        );
        return notes.push(Note { text, at: at.clone() });
    }
    let host = if port < UNPRIVILEGED { 0 } else { port };
    let variable = variable(&label);
    forwards.push(PlannedForward {
        label,
        forward: Forward { proto: Protocol::Tcp, address: None, host, guest: port },
        variable,
    });
}

/// `MVM_PORT_WEB`, of `web`.
fn variable(label: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    format!("MVM_PORT_{}", label.chars().map(letter).collect::<String>())
}
