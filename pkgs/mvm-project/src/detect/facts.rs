//! Facts while they are gathered.

use crate::nix::Eval;
use crate::nix::value::{At, Unknown};
pub use crate::project::Facts;
use crate::project::{Certainty, Note, PackageFact, Source, UnknownFact};

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
