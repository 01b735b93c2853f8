//! Procfile: `name: command`, a line each (Heroku, foreman, overmind).

use super::Hint;
use crate::detect::facts::Facts;
use crate::position::Position;
use crate::project::{Certainty, Note, Process, Template};
use std::collections::BTreeMap;

pub const FILES: &[&str] = &["Procfile.dev", "Procfile"];
pub const WHAT: &str = "processes";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    for (index, line) in hint.text.lines().enumerate() {
        let line = line.trim();
        let at = Position::line(hint.file, index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let named = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        match line.split_once(':') {
            Some((name, command)) if named(name.trim()) && !command.trim().is_empty() => {
                // `release` runs once, when Heroku deploys.
                if !hint.take.running || name.trim() == "release" {
                    continue;
                }
                facts.processes.push(Process {
                    name: name.trim().to_owned(),
                    exec: Some(Template::text(command.trim())),
                    cwd: None,
                    env: BTreeMap::new(),
                    after: Vec::new(),
                    ports: BTreeMap::new(),
                    certainty: Certainty::Certain,
                    at,
                });
            }
            _ => facts.notes.push(Note { text: "this line is no `name: command`".to_owned(), at }),
        }
    }
}
