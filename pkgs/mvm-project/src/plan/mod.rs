//! The plan: from what a project needs to what its VM gets. Pure; nothing is asked of the host.

mod forwards;
mod guest;
mod nixos;
mod processes;
mod programs;
mod services;
mod show;
mod toolchains;
mod workload;

pub use forwards::PlannedForward;
pub use guest::{Guest, guest};
pub use nixos::declaration;
pub use processes::PlannedProcess;
pub use programs::PlannedPackage;
pub use services::PlannedService;
pub use show::{printable, show};
pub use workload::workload;

use crate::project::{Certainty, Kind, Note, PackageRef, Project, Template, UnknownFact};
use mvm_spec::VmName;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Version of the JSON form of [`Plan`].
pub const VERSION: u64 = 1;

/// What a VM for a project gets.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Version of this form: 1.
    pub version: u64,
    /// The VM's name.
    pub name: VmName,
    /// The project on the host: the repository's root.
    pub project: PathBuf,
    /// Where commands start in the guest.
    pub working_directory: String,
    /// What the plan is made from.
    pub kind: Kind,
    /// Packages, those of languages among them.
    pub packages: Vec<PlannedPackage>,
    /// Services.
    pub services: Vec<PlannedService>,
    /// Processes.
    pub processes: Vec<PlannedProcess>,
    /// Variables of all sessions and processes.
    pub env: BTreeMap<String, String>,
    /// Files of variables that the VM's sessions read, as paths in the guest.
    pub env_files: Vec<String>,
    /// Ports of the host that lead into the VM.
    pub forwards: Vec<PlannedForward>,
    /// What could not be known, and so is not done.
    pub unknowns: Vec<UnknownFact>,
    /// What differs from what the project says, or needs a hand.
    pub notes: Vec<Note>,
    /// Variables with paths of packages in them, which only a NixOS guest can have.
    #[serde(skip)]
    nix_env: BTreeMap<String, Template>,
    #[serde(skip)]
    nix_packages: Vec<PackageRef>,
}

impl Plan {
    /// The same for a VM of another name.
    #[must_use]
    pub fn named(self, name: VmName) -> Self {
        Self { name, ..self }
    }
}

/// The name of a project's VM, unless another is given: devenv's name of it, or its directory's.
pub fn default_name(project: &Project) -> VmName {
    let directory = project.root.join(&project.directory);
    let by_directory = || directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    VmName::from_text(&project.facts.name.clone().unwrap_or_else(by_directory))
}

/// Plans a VM of name `name` for a project.
pub fn plan(project: &Project, name: VmName) -> Plan {
    let mut notes = project.facts.notes.clone();
    let mut unknowns = project.facts.unknowns.clone();
    let mut nix_packages: Vec<PackageRef> = Vec::new();
    for fact in &project.facts.packages {
        match fact.certainty {
            Certainty::Hint => notes.push(Note {
                text: format!(
                    "{} may be wanted, under a condition that is not known: left out",
                    fact.package.expression()
                ),
                at: fact.at.clone(),
            }),
            _ => nix_packages.push(fact.package.clone()),
        }
    }
    nix_packages.extend(toolchains::packages(project, &mut notes));
    let mut seen = Vec::new();
    nix_packages.retain(|package| {
        let new = !seen.contains(package);
        seen.push(package.clone());
        new
    });
    let (mut env, nix_env) = environment(project, &mut unknowns);
    let services = services::planned(project, &mut notes);
    for service in &services {
        for (variable, value) in &service.variables {
            // What the project sets itself stays.
            env.entry(variable.clone()).or_insert_with(|| value.clone());
        }
    }
    let processes = processes::planned(project, &mut notes, &mut unknowns);
    let forwards = forwards::planned(&services, &processes, &mut notes);
    let mut working_directory = mvm_spec::latest::PROJECT_MOUNT.to_owned();
    for part in &project.directory {
        working_directory.push('/');
        working_directory.push_str(&part.to_string_lossy());
    }
    let env_file =
        |file: &crate::project::EnvFile| format!("{}/{}", mvm_spec::latest::PROJECT_MOUNT, file.file);
    Plan {
        version: VERSION,
        name,
        project: project.root.clone(),
        working_directory,
        kind: project.kind,
        packages: nix_packages.iter().map(programs::planned).collect(),
        services,
        processes,
        env,
        env_files: project
            .facts
            .env_files
            .iter()
            .filter(|file| file.certainty != Certainty::Hint || project.kind == Kind::Hints)
            .map(env_file)
            .collect(),
        forwards,
        unknowns,
        notes,
        nix_env,
        nix_packages,
    }
}

type Variables = (BTreeMap<String, String>, BTreeMap<String, Template>);

/// Variables that are known whole, and those that NixOS alone can make.
fn environment(project: &Project, unknowns: &mut Vec<UnknownFact>) -> Variables {
    let mut env = BTreeMap::new();
    let mut nix = BTreeMap::new();
    for variable in &project.facts.env {
        let what = format!("env.{}", variable.name);
        let mut left_out = |why: &str| {
            if unknowns_have(unknowns, &what) {
                return;
            }
            unknowns.push(UnknownFact { what: what.clone(), why: why.to_owned(), at: variable.at.clone() });
        };
        if !mvm_spec::latest::is_variable_name(&variable.name) {
            left_out("it is no variable's name");
        } else if variable.certainty == Certainty::Hint {
            left_out("it is set under a condition that is not known");
        } else if let Some(value) = variable.value.plain() {
            env.insert(variable.name.clone(), value);
        } else if variable.value.unknown().is_none() {
            nix.insert(variable.name.clone(), variable.value.clone());
        } else {
            left_out(variable.value.unknown().unwrap_or_default());
        }
    }
    (env, nix)
}

fn unknowns_have(unknowns: &[UnknownFact], what: &str) -> bool {
    unknowns.iter().any(|one| one.what.split(", ").any(|part| part.starts_with(what)))
}

#[cfg(test)]
mod tests;
