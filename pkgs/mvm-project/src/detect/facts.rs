//! Facts while they are gathered.

use crate::nix::Eval;
use crate::nix::value::{At, Unknown};
use crate::project::{
    Certainty, EnvFile, Feature, Note, PackageFact, Process, Script, Source, Template, UnknownFact, Variable,
};

/// See [`crate::project::Project`].
#[derive(Default)]
pub struct Facts {
    pub sources: Vec<Source>,
    pub name: Option<String>,
    pub packages: Vec<PackageFact>,
    pub languages: Vec<Feature>,
    pub services: Vec<Feature>,
    pub processes: Vec<Process>,
    pub env: Vec<Variable>,
    pub scripts: Vec<Script>,
    pub enter_shell: Option<Template>,
    pub env_files: Vec<EnvFile>,
    pub unknowns: Vec<UnknownFact>,
    pub notes: Vec<Note>,
}

impl Facts {
    /// Adds a source, once.
    pub fn source(&mut self, file: &str, what: &str, certainty: Certainty) {
        if !self.sources.iter().any(|source| source.file == file) {
            self.sources.push(Source { file: file.to_owned(), what: what.to_owned(), certainty });
        }
    }

    /// Adds what is not known.
    pub fn unknown(&mut self, eval: &Eval, what: &str, unknown: &Unknown) {
        let at = eval.position(unknown.at);
        self.unknowns.push(UnknownFact { what: what.to_owned(), why: unknown.why.to_string(), at });
    }

    /// Adds a note about a place in a Nix file.
    pub fn note(&mut self, eval: &Eval, at: At, text: impl Into<String>) {
        self.notes.push(Note { text: text.into(), at: eval.position(at) });
    }

    /// Adds a package, once.
    pub fn package(&mut self, fact: PackageFact) {
        match self.packages.iter_mut().find(|there| there.package == fact.package) {
            Some(there) => there.certainty = there.certainty.min(fact.certainty),
            None => self.packages.push(fact),
        }
    }
}
