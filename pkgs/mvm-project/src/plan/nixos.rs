//! The declaration of the VM for NixOS: `services.microvm-dev.vms.NAME`.

use super::{Plan, PlannedForward};
use crate::nix::value::attribute;
use crate::services::NixValue;
use std::collections::BTreeMap;
use std::path::Path;

/// The declaration, to be pasted into a NixOS configuration.
pub fn declaration(plan: &Plan) -> String {
    let mut text = format!(
        "# {}: made by mvm-devenv from {}. What it could not know is named at the end.\nservices.microvm-dev.vms.{} = {{\n",
        plan.name,
        comment(&plan.project.display().to_string()),
        attribute(plan.name.as_str())
    );
    let project = plan.project.to_string_lossy().into_owned();
    text.push_str(&format!("  projectDir = {};\n", NixValue::Text(project).code(2)));
    if !plan.forwards.is_empty() {
        let forwards = plan.forwards.iter().map(forward).collect();
        text.push_str(&format!("  forwardPorts = {};\n", NixValue::List(forwards).code(2)));
    }
    text.push_str("  guestConfig =\n    { pkgs, vmSpec, ... }:\n    {\n");
    for (path, value) in tree(plan) {
        let path: Vec<String> = path.iter().map(|name| attribute(name)).collect();
        text.push_str(&format!("      {} = {};\n", path.join("."), value.code(6)));
    }
    text.push_str("    };\n};\n");
    for unknown in &plan.unknowns {
        text.push_str(&format!(
            "# not known: {} ({}): {}\n",
            comment(&unknown.what),
            unknown.at,
            comment(&unknown.why)
        ));
    }
    for note in &plan.notes {
        text.push_str(&format!("# note ({}): {}\n", note.at, comment(&note.text)));
    }
    text
}

/// What stands in a comment, on one line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn forward(planned: &PlannedForward) -> NixValue {
    let numbers = [("guest", planned.forward.guest), ("host", planned.forward.host)];
    NixValue::Set(numbers.map(|(name, port)| (name.to_owned(), port.into())).into())
}

/// Options of the guest, by path.
fn tree(plan: &Plan) -> BTreeMap<Vec<String>, NixValue> {
    let mut options: BTreeMap<Vec<String>, NixValue> = BTreeMap::new();
    let path = |parts: &[&str]| parts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let packages: Vec<NixValue> = plan
        .nix_packages
        .iter()
        // A package of another input, or made on the spot, has no name here; the notes say so.
        .filter(|package| package.input.is_none() && package.changed.is_none())
        .map(NixValue::from)
        .collect();
    if !packages.is_empty() {
        options.insert(path(&["environment", "systemPackages"]), NixValue::List(packages));
    }
    let variables = variables(plan);
    for (name, value) in &variables {
        options.insert(path(&["environment", "variables", name]), value.clone());
    }
    for service in &plan.services {
        options.extend(service.options.clone());
    }
    for process in &plan.processes {
        let unit = |rest: &[&str]| {
            let name = format!("project-{}", unit_name(&process.name));
            [&["systemd".to_owned(), "services".to_owned(), name], path(rest).as_slice()].concat()
        };
        let text = |text: &str| NixValue::Text(text.to_owned());
        options.insert(unit(&["wantedBy"]), NixValue::List(vec!["multi-user.target".into()]));
        let after: Vec<String> = process.after.iter().map(|name| after(plan, name)).collect();
        if !after.is_empty() {
            let after = NixValue::List(after.into_iter().map(NixValue::Text).collect());
            options.insert(unit(&["after"]), after.clone());
            options.insert(unit(&["wants"]), after);
        }
        for (name, value) in &variables {
            options.insert(unit(&["environment", name]), value.clone());
        }
        for (name, value) in &process.env {
            options.insert(unit(&["environment", name]), text(value));
        }
        options.insert(unit(&["path"]), NixValue::List(vec!["/run/current-system/sw".into()]));
        options.insert(unit(&["script"]), (&process.nix_exec).into());
        options.insert(unit(&["serviceConfig", "User"]), NixValue::Code("vmSpec.user.name".to_owned()));
        options.insert(
            unit(&["serviceConfig", "WorkingDirectory"]),
            text(&directory(plan, process.cwd.as_deref())),
        );
        options.insert(unit(&["serviceConfig", "Restart"]), text("on-failure"));
        if !plan.env_files.is_empty() {
            // `-`: a file that is not there is none.
            let files = plan.env_files.iter().map(|file| NixValue::Text(format!("-{file}"))).collect();
            options.insert(unit(&["serviceConfig", "EnvironmentFile"]), NixValue::List(files));
        }
    }
    options
}

fn variables(plan: &Plan) -> BTreeMap<String, NixValue> {
    let known = plan.env.iter().map(|(name, value)| (name.clone(), NixValue::Text(value.clone())));
    known.chain(plan.nix_env.iter().map(|(name, value)| (name.clone(), value.into()))).collect()
}

fn unit_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect()
}

/// The unit of a process, or of a service, by the module that it is mapped to.
fn after(plan: &Plan, name: &str) -> String {
    if plan.processes.iter().any(|process| process.name == name) {
        return format!("project-{}.service", unit_name(name));
    }
    match name {
        "postgres" => "postgresql.service".to_owned(),
        "kafka" => "apache-kafka.service".to_owned(),
        "influxdb" => "influxdb2.service".to_owned(),
        "mailhog" => "mailpit.service".to_owned(),
        other => format!("{other}.service"),
    }
}

fn directory(plan: &Plan, cwd: Option<&str>) -> String {
    let path = Path::new(&plan.working_directory).join(cwd.unwrap_or(""));
    crate::files::normal(&path).to_string_lossy().into_owned()
}
