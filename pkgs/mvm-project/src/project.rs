//! What was found out about a project: facts, each with its place and with how sure it is.

pub use crate::data::{Datum, PackageRef, Part, Template};
use crate::position::Position;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Version of the JSON form of [`Project`].
pub const VERSION: u64 = 1;

/// A project as its files describe it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Project {
    /// Version of this form: 1.
    pub version: u64,
    /// The repository's root, or the directory itself outside of one: nothing above is read.
    pub root: PathBuf,
    /// The directory that governs, relative to the root; empty is the root.
    pub directory: PathBuf,
    /// What governs the project.
    pub kind: Kind,
    /// What the files say.
    #[serde(flatten)]
    pub facts: Facts,
}

impl Project {
    /// The directory that governs, on the host.
    pub fn governing(&self) -> PathBuf {
        // An empty part would leave a slash at the end.
        if self.directory.as_os_str().is_empty() {
            self.root.clone()
        } else {
            self.root.join(&self.directory)
        }
    }
}

/// What files say of a project.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The files that were found, the governing one first.
    pub sources: Vec<Source>,
    /// devenv's `name`.
    pub name: Option<String>,
    /// Packages on the search path.
    pub packages: Vec<PackageFact>,
    /// Languages that are switched on.
    pub languages: Vec<Feature>,
    /// Services that are switched on.
    pub services: Vec<Feature>,
    /// Processes, by name.
    pub processes: Vec<Process>,
    /// Environment variables.
    pub env: Vec<Variable>,
    /// Scripts, by name.
    pub scripts: Vec<Script>,
    /// Run by an interactive shell when it starts; never on the host.
    pub enter_shell: Option<Template>,
    /// Files of variables, relative to the root. Their values are not read: they may be secrets.
    pub env_files: Vec<EnvFile>,
    /// What could not be known.
    pub unknowns: Vec<UnknownFact>,
    /// What should be said besides: errors in files, features that are not carried over.
    pub notes: Vec<Note>,
}

/// What governs a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `devenv.nix`.
    Devenv,
    /// A flake whose shell is made by devenv.
    FlakeDevenv,
    /// A flake with `devShells`.
    Flake,
    /// `shell.nix`, or `default.nix` with a shell in it.
    ShellNix,
    /// No Nix: what package managers, Procfile and compose files tell.
    Hints,
    /// Nothing that tells anything.
    None,
}

/// A file that tells about the project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Relative to the root.
    pub file: String,
    /// What it is, in a few words.
    pub what: String,
    /// What it says of the project is `certain`, `likely` or a `hint`.
    pub certainty: Certainty,
}

/// How sure a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// The project says so.
    Certain,
    /// Follows by convention.
    Likely,
    /// May be so, under a condition that is not known or by a custom that not everyone follows.
    Hint,
}

/// A package that the project wants.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageFact {
    /// Which.
    #[serde(flatten)]
    pub package: PackageRef,
    /// How sure.
    pub certainty: Certainty,
    /// Where it is said.
    pub at: Position,
}

/// A language or service, with its settings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Feature {
    /// devenv's name of it.
    pub name: String,
    /// What is set, as it is written; defaults are not repeated here.
    pub settings: BTreeMap<String, Datum>,
    /// How sure it is that it is wanted.
    pub certainty: Certainty,
    /// Where it is switched on.
    pub at: Position,
}

/// A process of the project.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its name.
    pub name: String,
    /// What is run by a shell. Missing: not known.
    pub exec: Option<Template>,
    /// Where it is run, relative to the project or as the project writes it.
    pub cwd: Option<String>,
    /// Variables of its own.
    pub env: BTreeMap<String, Template>,
    /// Names of processes, or services, that start before it.
    pub after: Vec<String>,
    /// Ports, by their names.
    pub ports: BTreeMap<String, u16>,
    /// How sure it is that it is wanted.
    pub certainty: Certainty,
    /// Where it is said.
    pub at: Position,
}

/// An environment variable.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Template,
    /// How sure.
    pub certainty: Certainty,
    /// Where it is said.
    pub at: Position,
}

/// A script, which is a program on the search path.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Script {
    /// Its name.
    pub name: String,
    /// Its text, or the file of it. Missing: not known.
    pub exec: Option<Template>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it is said.
    pub at: Position,
}

/// A file of variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvFile {
    /// Relative to the root.
    pub file: String,
    /// The names in it; the values are nobody's business here.
    pub names: Vec<String>,
    /// Certain if the project asks for it, a hint if it only lies there.
    pub certainty: Certainty,
}

/// Something that could not be known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UnknownFact {
    /// What, as an option path: `services.postgres.port`.
    pub what: String,
    /// Why.
    pub why: String,
    /// The cause's place.
    pub at: Position,
}

/// Something to be said, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// What.
    pub text: String,
    /// Where.
    pub at: Position,
}
