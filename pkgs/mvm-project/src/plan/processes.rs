//! Processes of the project.

use super::programs;
use crate::position::Position;
use crate::project::{Certainty, Note, Part, Process, Project, Template, UnknownFact};
use serde::Serialize;
use std::collections::BTreeMap;

/// A process that is planned.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedProcess {
    /// Its name.
    pub name: String,
    /// What a shell of the embedded guest runs: paths of packages are names of programs there.
    pub exec: String,
    /// Where, relative to the working directory or absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Variables of its own.
    pub env: BTreeMap<String, String>,
    /// Services and processes that start before it.
    pub after: Vec<String>,
    /// Ports, by name.
    pub ports: BTreeMap<String, u16>,
    /// Where it is said.
    pub at: Position,
    /// With paths of packages, for NixOS.
    #[serde(skip)]
    pub nix_exec: Template,
}

/// Plans what is known whole and wanted for certain; says why the others are left out.
pub fn planned(
    project: &Project,
    notes: &mut Vec<Note>,
    unknowns: &mut Vec<UnknownFact>,
) -> Vec<PlannedProcess> {
    let names: Vec<&str> = project
        .facts
        .processes
        .iter()
        .map(|process| process.name.as_str())
        .chain(project.facts.services.iter().map(|service| service.name.as_str()))
        .collect();
    let mut planned: Vec<PlannedProcess> = Vec::new();
    for process in &project.facts.processes {
        let what = format!("processes.{}", process.name);
        let mut left_out = |why: &str| {
            unknowns.push(UnknownFact {
                what: what.clone(),
                why: format!("{why}: it is not started"),
                at: process.at.clone(),
            });
        };
        let Some(exec) = &process.exec else {
            left_out("what it runs is not known");
            continue;
        };
        if let Some(why) = exec.unknown() {
            left_out(&format!("a part of what it runs is not known ({why})"));
            continue;
        }
        if process.certainty == Certainty::Hint {
            left_out("it is wanted under a condition that is not known");
            continue;
        }
        planned.push(PlannedProcess {
            name: process.name.clone(),
            exec: in_guest(exec, process, notes),
            cwd: process.cwd.clone(),
            env: process
                .env
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), value.plain()?)))
                .collect(),
            after: process.after.iter().filter(|name| names.contains(&name.as_str())).cloned().collect(),
            ports: process.ports.clone(),
            at: process.at.clone(),
            nix_exec: exec.clone(),
        });
    }
    planned
}

/// The command in the embedded guest, where programs are on the search path.
fn in_guest(exec: &Template, process: &Process, notes: &mut Vec<Note>) -> String {
    let mut text = String::new();
    let mut stripped = false;
    for (index, part) in exec.0.iter().enumerate() {
        match part {
            Part::Text(more) if stripped => text.push_str(more.strip_prefix("/bin/").unwrap_or(more)),
            Part::Text(more) => text.push_str(more),
            Part::Program { program } => text.push_str(&programs::program(program)),
            Part::Package { package } => {
                let bin =
                    matches!(exec.0.get(index + 1), Some(Part::Text(next)) if next.starts_with("/bin/"));
                if !bin {
                    let note = format!(
                        "process {}: the path of {} has no meaning in the embedded guest",
                        process.name,
                        package.expression()
                    );
                    notes.push(Note { text: note, at: process.at.clone() });
                    text.push_str(&package.path());
                }
                stripped = bin;
                continue;
            }
            Part::Unknown { .. } => {}
        }
        stripped = false;
    }
    text
}
