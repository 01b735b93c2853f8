//! Projects for tests.

use mvm_project::detect::detect;
use mvm_project::project::{Datum, Feature, Project};

/// A repository with these files, detected at its root.
pub fn detected(files: &[(&str, &str)]) -> Project {
    let dir = repository(files);
    detect(dir.path()).unwrap()
}

pub fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

/// A project with this devenv.nix.
pub fn devenv(text: &str) -> Project {
    detected(&[("devenv.nix", text)])
}

pub fn packages(project: &Project) -> Vec<String> {
    project.facts.packages.iter().map(|fact| fact.package.expression()).collect()
}

pub fn service<'a>(project: &'a Project, name: &str) -> &'a Feature {
    project
        .facts
        .services
        .iter()
        .find(|service| service.name == name)
        .unwrap_or_else(|| panic!("no {name}: {project:#?}"))
}

pub fn setting(feature: &Feature, path: &[&str]) -> Option<Datum> {
    feature.settings.get(path[0])?.at(&path[1..]).cloned()
}

pub fn variable(project: &Project, name: &str) -> Option<String> {
    project.facts.env.iter().find(|variable| variable.name == name)?.value.plain()
}

/// `what (file:line): why` of each unknown.
pub fn unknowns(project: &Project) -> Vec<String> {
    let shown = |one: &mvm_project::project::UnknownFact| {
        format!("{} ({}:{}): {}", one.what, one.at.file, one.at.line, one.why)
    };
    project.facts.unknowns.iter().map(shown).collect()
}

/// Nothing is unknown, and nothing is wrong.
#[track_caller]
pub fn all_known(project: &Project) {
    assert_eq!(unknowns(project), Vec::<String>::new());
    assert_eq!(project.facts.notes, Vec::new());
}
