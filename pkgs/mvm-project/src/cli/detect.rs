//! `mvm-devenv detect`.

use crate::plan;
use crate::project::{Certainty, Project};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Shows what a project's files say it needs.
#[derive(clap::Args)]
pub struct Args {
    /// The project: a directory of it.
    #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// Print JSON: an object. It has what a NixOS guest gets, too: the option `devenv.fromFile` reads it.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Detects and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let project = crate::detect::detect(&self.dir)?;
        if self.json { super::print_json(&Output::of(&project)) } else { super::print(&shown(&project)) }
    }
}

/// The project, and what a NixOS guest for it gets.
#[derive(serde::Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    project: &'a Project,
    nixos: plan::Guest,
}

impl<'a> Output<'a> {
    fn of(project: &'a Project) -> Self {
        let nixos = plan::guest(&plan::plan(project, plan::default_name(project)));
        Self { project, nixos }
    }
}

fn shown(project: &Project) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String, at: Option<String>| {
        let at = at.map(|at| format!("  ({at})")).unwrap_or_default();
        let _ = writeln!(text, "{label:<10} {}", crate::plan::printable(&format!("{value}{at}")));
    };
    let sure = |certainty: Certainty| match certainty {
        Certainty::Certain => "",
        Certainty::Likely => ", likely",
        Certainty::Hint => ", perhaps",
    };
    for source in &project.facts.sources {
        line("found", format!("{}: {}{}", source.file, source.what, sure(source.certainty)), None);
    }
    if project.facts.sources.is_empty() {
        line("found", format!("nothing that says what {} needs", project.root.display()), None);
    }
    for package in &project.facts.packages {
        let changed =
            package.package.changed.as_ref().map(|how| format!(", changed ({how})")).unwrap_or_default();
        let value = format!("{}{changed}{}", package.package.expression(), sure(package.certainty));
        line("package", value, Some(package.at.to_string()));
    }
    for (label, features) in [("language", &project.facts.languages), ("service", &project.facts.services)] {
        for one in features {
            let settings: Vec<&str> = one.settings.keys().map(String::as_str).collect();
            let settings =
                if settings.is_empty() { String::new() } else { format!(", sets {}", settings.join(", ")) };
            line(label, format!("{}{}{settings}", one.name, sure(one.certainty)), Some(one.at.to_string()));
        }
    }
    for one in &project.facts.processes {
        line("process", format!("{}{}", one.name, sure(one.certainty)), Some(one.at.to_string()));
    }
    for one in &project.facts.env {
        line("variable", format!("{}{}", one.name, sure(one.certainty)), Some(one.at.to_string()));
    }
    for one in &project.facts.scripts {
        line("script", one.name.clone(), Some(one.at.to_string()));
    }
    for one in &project.facts.env_files {
        line("variables", format!("{}: {}{}", one.file, one.names.join(" "), sure(one.certainty)), None);
    }
    for one in &project.facts.unknowns {
        line("not known", format!("{}: {}", one.what, one.why), Some(one.at.to_string()));
    }
    for one in &project.facts.notes {
        line("note", one.text.clone(), Some(one.at.to_string()));
    }
    text
}
