//! Procfile: `name: command`, a line each (Heroku, foreman, overmind).

use super::Hint;
use crate::detect::facts::Facts;
use crate::position::Position;
use crate::project::{Certainty, Note, Process, Template};

/// The port that foreman gives the first process, as `$PORT`; each further one gets [`STEP`] more.
const FIRST: u16 = 5000;
const STEP: u16 = 100;

pub const FILES: &[&str] = &["Procfile.dev", "Procfile"];
pub const WHAT: &str = "processes";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    let mut next = Some(FIRST);
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
                let (name, command) = (name.trim(), command.trim());
                let given = next;
                next = given.and_then(|port| port.checked_add(STEP));
                // What says a port listens there. `web` is what serves, by its name, and others that ask for `$PORT`.
                let asks = name == "web" || command.contains("$PORT") || command.contains("${PORT");
                let port = super::package_json::port(command).or(given.filter(|_| asks));
                facts.processes.push(Process {
                    name: name.to_owned(),
                    exec: Some(Template::text(command)),
                    cwd: None,
                    env: given
                        .map(|port| ("PORT".to_owned(), Template::text(port.to_string())))
                        .into_iter()
                        .collect(),
                    after: Vec::new(),
                    ports: port.map(|port| ("main".to_owned(), port)).into_iter().collect(),
                    certainty: Certainty::Certain,
                    at,
                });
            }
            _ => facts.notes.push(Note { text: "this line is no `name: command`".to_owned(), at }),
        }
    }
}
