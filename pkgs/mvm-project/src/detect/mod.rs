//! Detection: from a directory to facts.

mod devenv;
mod facts;
mod flake;
mod hints;
mod roots;
mod shell;

use crate::files;
use crate::nix::{Eval, on_large_stack};
use crate::project::{Kind, Note, Project, UnknownFact, VERSION};
use crate::{Error, Result};
use facts::Facts;
use roots::Roots;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Finds out what the project at `directory` needs. Nothing of it is executed, and nothing outside of its repository read.
///
/// Errors: `directory` can't be examined. What is wrong with files is in the project's notes.
pub fn detect(directory: &Path) -> Result<Project> {
    let examined = |error| Error::Directory { path: directory.to_owned(), error };
    let directory = directory.canonicalize().map_err(examined)?;
    if !directory.is_dir() {
        return Err(Error::NotADirectory { path: directory });
    }
    let roots = roots::find(&directory);
    let shown = directory.clone();
    on_large_stack(move || examine(&roots)).ok_or(Error::Internal { path: shown })
}

/// The project in which `directory` is: the root that bounds it, and the directory that governs.
fn examine(roots: &Roots) -> Project {
    let eval = Eval::new(&roots.root);
    let mut facts = Facts::default();
    let kind = govern(&eval, roots, &mut facts);
    hints::add(&eval, &roots.directory, kind, &mut facts);
    for problem in eval.problems() {
        facts.notes.push(Note { text: problem.text, at: problem.at });
    }
    facts.unknowns = grouped(facts.unknowns);
    let kind = if kind == Kind::None && !facts.sources.is_empty() { Kind::Hints } else { kind };
    let inside = roots.directory.strip_prefix(&roots.root).map(Path::to_owned).unwrap_or_default();
    Project { version: VERSION, root: roots.root.clone(), directory: inside, kind, facts }
}

/// Reads the file that governs, if there is one.
fn govern(eval: &Eval, roots: &Roots, facts: &mut Facts) -> Kind {
    let directory = &roots.directory;
    let has =
        |name: &str| files::resolve(&roots.root, &directory.join(name)).is_ok_and(|path| path.is_file());
    if has("devenv.nix") || has("devenv.yaml") {
        devenv::read(eval, directory, facts);
        return Kind::Devenv;
    }
    if has("flake.nix") {
        return flake::read(eval, directory, facts);
    }
    for name in ["shell.nix", "default.nix"] {
        if has(name) && shell::read(eval, &directory.join(name), facts) {
            return Kind::ShellNix;
        }
    }
    Kind::None
}

/// Unknowns of one cause as one.
fn grouped(unknowns: Vec<UnknownFact>) -> Vec<UnknownFact> {
    let mut causes: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for UnknownFact { what, why, at } in unknowns {
        let whats = causes.entry((at, why)).or_default();
        if !whats.contains(&what) {
            whats.push(what);
        }
    }
    let group = |((at, why), whats): (_, Vec<String>)| {
        let shown = whats.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
        let what = match whats.len() {
            0..=4 => shown,
            more => format!("{shown} and {} more", more - 4),
        };
        UnknownFact { what, why, at }
    };
    causes.into_iter().map(group).collect()
}

/// Files that say what a project needs, by the directory that governs: what a shell watches for changes. Relative to the
/// root.
pub fn governing_files(project: &Project) -> Vec<PathBuf> {
    project.facts.sources.iter().map(|source| PathBuf::from(&source.file)).collect()
}
