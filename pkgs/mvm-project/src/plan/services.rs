//! Services of the project.

use crate::position::Position;
use crate::project::{Certainty, Note, Project};
use crate::services::{self, Accuracy, Command, NixValue, Settings};
use serde::Serialize;
use std::collections::BTreeMap;

/// A service that is planned.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedService {
    /// devenv's name of it.
    pub name: String,
    /// Ports, by name.
    pub ports: BTreeMap<String, u16>,
    /// In the embedded guest: the program, where else than on the search path it may be, and Debian's package of it.
    pub program: String,
    /// Directories besides the search path; patterns of a shell.
    pub directories: Vec<String>,
    /// The package of Debian 12; none if Debian has none.
    pub debian: Option<String>,
    /// It must run as another user than root.
    pub refuses_root: bool,
    /// Its commands in the embedded guest.
    pub command: Command,
    /// How true the embedded guest is to devenv.
    pub accuracy: Accuracy,
    /// Variables for the project's processes and shells in the VM.
    pub variables: BTreeMap<String, String>,
    /// Where it is switched on.
    pub at: Position,
    /// Variables with places for ports.
    #[serde(skip)]
    templates: BTreeMap<String, String>,
    /// Options of NixOS.
    #[serde(skip)]
    pub options: BTreeMap<Vec<String>, NixValue>,
}

impl PlannedService {
    /// The variables where the ports are others: on the host.
    pub fn variables_with(&self, ports: &BTreeMap<String, u16>) -> BTreeMap<String, String> {
        services::with_ports(&self.templates, ports)
    }
}

/// Plans the services that are known; says what is left out, and what differs.
pub fn planned(project: &Project, notes: &mut Vec<Note>) -> Vec<PlannedService> {
    let mut planned = Vec::new();
    for service in &project.facts.services {
        let name = &service.name;
        let mut note = |text: String| notes.push(Note { text, at: service.at.clone() });
        let Some(mapping) = services::find(name) else {
            note(format!("service {name} is not known here: start it as a process"));
            continue;
        };
        if service.certainty == Certainty::Hint {
            note(format!("service {name} is wanted under a condition that is not known: it is not started"));
            continue;
        }
        let settings = Settings::new(mapping, &service.settings);
        let run = (mapping.run)(&settings);
        let ports: BTreeMap<String, u16> =
            settings.ports().into_iter().map(|(label, port)| (label.to_owned(), port)).collect();
        for remark in run.remarks.iter().chain(&settings.remarks()) {
            note(format!("service {name}: {remark}"));
        }
        planned.push(PlannedService {
            name: name.clone(),
            ports: ports.clone(),
            program: mapping.program.to_owned(),
            directories: mapping.directories.iter().map(ToString::to_string).collect(),
            debian: mapping.debian.map(ToOwned::to_owned),
            refuses_root: mapping.refuses_root,
            command: run.command,
            accuracy: mapping.embedded.accuracy,
            variables: services::with_ports(&run.variables, &ports),
            templates: run.variables,
            at: service.at.clone(),
            options: run.options,
        });
    }
    let mut seen = Vec::new();
    notes.retain(|note| {
        let new = !seen.contains(note);
        seen.push(note.clone());
        new
    });
    planned
}
