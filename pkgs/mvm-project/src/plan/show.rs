//! The plan as people read it.

use super::{Plan, PlannedForward};
use std::fmt::Write as _;

/// The plan in lines.
pub fn show(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{label:<10} {}", printable(&value));
        }
    };
    line("VM", plan.name.to_string());
    line("project", format!("{} at {}", plan.project.display(), plan.working_directory));
    let packages: Vec<&str> = plan.packages.iter().map(|package| package.expression.as_str()).collect();
    line("packages", packages.join(" "));
    for service in &plan.services {
        let install = match &service.debian {
            Some(package) => format!(", of Debian's package {package}"),
            None => ", which Debian does not have".to_owned(),
        };
        line("service", format!("{} ({}{install}){}", service.name, service.program, ports(&service.ports)));
    }
    for process in &plan.processes {
        let first = process.exec.trim().lines().next().unwrap_or_default();
        let more = if process.exec.trim().lines().count() > 1 { " …" } else { "" };
        line("process", format!("{}: {first}{more}{}", process.name, ports(&process.ports)));
    }
    for (name, value) in &plan.env {
        line("variable", format!("{name}={}", crate::quote::shell(value)));
    }
    for file in &plan.env_files {
        line("variables", format!("those in {file}"));
    }
    for PlannedForward { label, forward, variable } in &plan.forwards {
        let host =
            if forward.host == 0 { "a free port".to_owned() } else { format!("localhost:{}", forward.host) };
        line("forward", format!("{host} leads to {label} (port {}); ${variable} says which", forward.guest));
    }
    for unknown in &plan.unknowns {
        line("not known", format!("{} ({}): {}", unknown.what, unknown.at, unknown.why));
    }
    for note in &plan.notes {
        line("note", format!("{} ({})", note.text, note.at));
    }
    text
}

fn ports(ports: &std::collections::BTreeMap<String, u16>) -> String {
    let shown: Vec<String> = ports.values().map(ToString::to_string).collect();
    match shown.len() {
        0 => String::new(),
        1 => format!(", port {}", shown[0]),
        _ => format!(", ports {}", shown.join(", ")),
    }
}

/// Without what could steer a terminal: names and texts are the project's.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}
