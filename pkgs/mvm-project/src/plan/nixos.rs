//! The declaration of the VM for NixOS: `services.microvm-dev.vms.NAME`.

use super::{Plan, PlannedForward};
use crate::nix::value::attribute;
use crate::services::NixValue;

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
    let guest = super::guest(plan);
    for option in &guest.options {
        let path: Vec<String> = option.path.iter().map(|name| attribute(name)).collect();
        text.push_str(&format!("      {} = {};\n", path.join("."), option.value.code(6)));
    }
    text.push_str("    };\n};\n");
    for what in &guest.left_out {
        text.push_str(&format!("# left out: {}\n", comment(what)));
    }
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
