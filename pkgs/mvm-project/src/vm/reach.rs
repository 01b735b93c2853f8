//! How services and processes of a running VM are reached.

use super::VmStatus;
use crate::plan::{Plan, PlannedForward, printable};
use mvm_spec::workload::ProcessPhase;
use std::fmt::Write as _;

/// What serves HTTP by its name; of others that would be a guess.
const HTTP: [&str; 9] = ["http", "web", "www", "app", "api", "ui", "frontend", "backend", "server"];

/// Lines for people: where each port leads from, and how its process is.
pub fn reach(plan: &Plan, status: &VmStatus) -> String {
    let mut text = String::new();
    let width = plan.forwards.iter().map(|one| one.label.chars().count()).max().unwrap_or(0);
    for one in &plan.forwards {
        let _ = writeln!(text, "  {:<width$}  {}", printable(&one.label), place(plan, status, one));
    }
    for process in &status.processes {
        let how = match process.phase {
            ProcessPhase::Ready => continue,
            ProcessPhase::Ended => "has ended",
            ProcessPhase::Failed => "failed",
            ProcessPhase::BackingOff => "fails, and is started again",
            ProcessPhase::Starting => "is not ready yet",
            ProcessPhase::Waiting => "waits for others",
        };
        let detail = if process.detail.is_empty() { String::new() } else { format!(": {}", process.detail) };
        let log = format!("mvm logs {} --process {}", plan.name, process.name);
        let _ = writeln!(text, "  {} {how}{}; {log}", printable(&process.name), printable(&detail));
    }
    text
}

fn place(plan: &Plan, status: &VmStatus, one: &PlannedForward) -> String {
    let Some(port) = status.host_port(one.forward.guest) else {
        return format!(
            "no port of this host leads to port {}; see mvm port {}",
            one.forward.guest, plan.name
        );
    };
    let process =
        plan.processes.iter().find(|process| process.ports.values().any(|port| *port == one.forward.guest));
    let http = process.is_some_and(|process| {
        let labels = process
            .ports
            .iter()
            .filter(|(_, port)| **port == one.forward.guest)
            .map(|(label, _)| label.as_str());
        labels.chain([process.name.as_str()]).any(|name| HTTP.contains(&name))
    });
    let scheme = if http { "http://" } else { "" };
    let instead = match one.forward.host {
        0 => String::new(),
        wanted if wanted == port => String::new(),
        wanted => format!(" ({wanted} was taken)"),
    };
    format!("{scheme}localhost:{port}{instead}, ${}", one.variable)
}
