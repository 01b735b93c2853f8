//! What can be known without Nix: the files of package managers, Procfile, compose files, `.env`.
//!
//! One file each, of one shape: `FILES`, `WHAT`, `read`. Toolchains are taken only where no Nix says what they are;
//! processes and services also beside a plain Nix shell, which can't name any. Beside devenv they are only mentioned.

mod cargo;
mod compose;
mod dotenv;
mod gemfile;
mod go;
mod package_json;
mod procfile;
mod python;

use super::facts::Facts;
use crate::files;
use crate::nix::Eval;
use crate::position::Position;
use crate::project::{Certainty, Datum, Feature, Kind, Note, PackageFact, PackageRef};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest file of this kind that is read. Lock files, which can be larger, are not.
const MAX_BYTES: u64 = 512 << 10;

/// What is taken from a hint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// Languages and packages.
    pub toolchain: bool,
    /// Processes and services.
    pub running: bool,
}

/// A file that was found: its name, its text, what of it is wanted, and the directory for looking at its neighbours.
pub struct Hint<'a> {
    pub file: &'a str,
    pub text: &'a str,
    pub take: Take,
    pub directory: &'a Path,
}

struct Kindred {
    files: &'static [&'static str],
    what: &'static str,
    read: fn(&Hint<'_>, &mut Facts),
}

macro_rules! kindred {
    ($($module:ident),*) => {
        [$(Kindred { files: $module::FILES, what: $module::WHAT, read: $module::read }),*]
    };
}

/// Adds what the files in `directory` tell.
pub fn add(eval: &Eval, directory: &Path, kind: Kind, facts: &mut Facts) {
    let take = match kind {
        Kind::None | Kind::Hints => Take { toolchain: true, running: true },
        Kind::Flake | Kind::ShellNix => Take { toolchain: false, running: true },
        Kind::Devenv | Kind::FlakeDevenv => Take { toolchain: false, running: false },
    };
    let nix = kind != Kind::None;
    for one in kindred!(procfile, compose, package_json, python, cargo, go, gemfile, dotenv) {
        // The first of several names counts: `Procfile.dev` before `Procfile`.
        let Some(path) = one.files.iter().map(|name| directory.join(name)).find(|path| path.is_file()) else {
            continue;
        };
        let file = files::name(eval.root(), &path);
        let certainty = if nix { Certainty::Hint } else { Certainty::Likely };
        match files::read(eval.root(), &path, MAX_BYTES) {
            Ok(text) => {
                facts.source(&file, one.what, certainty);
                (one.read)(&Hint { file: &file, text: &text, take, directory }, facts);
            }
            Err(error) => {
                facts.notes.push(Note { text: error.to_string(), at: Position::line(&file, 1) });
            }
        }
    }
}

impl Hint<'_> {
    /// Whether there is a file beside this one.
    fn beside(&self, name: &str) -> bool {
        self.directory.join(name).is_file()
    }

    /// The line of the first occurrence of `text`.
    fn line_of(&self, text: &str) -> Position {
        let offset = self.text.find(text).unwrap_or(0);
        let mut position = Position::in_text(self.file, self.text, offset);
        position.column = 1;
        position
    }

    /// A package of nixpkgs that is wanted, likely.
    fn package(&self, attr: &str, at: &Position, facts: &mut Facts) {
        if self.take.toolchain {
            let package = PackageRef {
                attr: attr.split('.').map(ToOwned::to_owned).collect(),
                input: None,
                changed: None,
            };
            facts.package(PackageFact { package, certainty: Certainty::Likely, at: at.clone() });
        }
    }

    /// A language that is used, likely, in a version that is asked for.
    fn language(&self, name: &str, version: Option<&str>, at: &Position, facts: &mut Facts) {
        if !self.take.toolchain {
            return;
        }
        let mut settings = BTreeMap::new();
        if let Some(version) = version {
            let version = crate::project::Template::text(version.trim());
            settings.insert("version".to_owned(), Datum::Text(version));
        }
        let feature =
            Feature { name: name.to_owned(), settings, certainty: Certainty::Likely, at: at.clone() };
        facts.languages.push(feature);
    }
}
