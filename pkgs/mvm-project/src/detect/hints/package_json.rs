//! `package.json`.

use super::Hint;
use crate::detect::facts::Facts;
use crate::position::Position;
use crate::project::{Certainty, Note, Process, Template};
use serde_json::Value;
use std::collections::BTreeMap;

pub const FILES: &[&str] = &["package.json"];
pub const WHAT: &str = "JavaScript package";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    let package: Value = match serde_json::from_str(hint.text) {
        Ok(package) => package,
        Err(error) => {
            let at = Position::line(hint.file, error.line());
            return facts.notes.push(Note { text: format!("JSON: {error}"), at });
        }
    };
    let text = |pointer: &str| package.pointer(pointer).and_then(Value::as_str);
    let at = hint.line_of("\"engines\"");
    hint.language("javascript", text("/engines/node"), &at, facts);
    hint.package("nodejs", &at, facts);
    let manager = manager(hint, text("/packageManager"));
    if manager != "npm" {
        hint.package(manager, &at, facts);
    }
    // What runs the project while it is worked on; a Procfile says so with certainty.
    if !hint.take.running || !facts.processes.is_empty() {
        return;
    }
    for script in ["dev", "start"] {
        let Some(command) = text(&format!("/scripts/{script}")) else { continue };
        facts.processes.push(Process {
            name: "web".to_owned(),
            exec: Some(Template::text(format!("{manager} run {script}"))),
            cwd: None,
            env: BTreeMap::new(),
            after: Vec::new(),
            ports: port(command).into_iter().map(|port| ("main".to_owned(), port)).collect(),
            certainty: Certainty::Likely,
            at: hint.line_of(&format!("\"{script}\"")),
        });
        break;
    }
}

fn manager(hint: &Hint<'_>, declared: Option<&str>) -> &'static str {
    let known = |name: &str| ["pnpm", "yarn", "bun", "npm"].into_iter().find(|known| *known == name);
    let declared = declared.and_then(|text| known(text.split('@').next().unwrap_or(text)));
    let by_lock = || {
        [("pnpm-lock.yaml", "pnpm"), ("yarn.lock", "yarn"), ("bun.lock", "bun"), ("bun.lockb", "bun")]
            .into_iter()
            .find(|(lock, _)| hint.beside(lock))
            .map(|(_, name)| name)
    };
    declared.or_else(by_lock).unwrap_or("npm")
}

/// The port in `--port 3000`, `--port=3000`, `-p 3000` or `PORT=3000`.
pub fn port(command: &str) -> Option<u16> {
    let words: Vec<&str> = command.split_whitespace().collect();
    words.iter().enumerate().find_map(|(index, word)| match *word {
        "--port" | "-p" => words.get(index + 1)?.parse().ok(),
        _ => word.strip_prefix("--port=").or_else(|| word.strip_prefix("PORT="))?.parse().ok(),
    })
}
