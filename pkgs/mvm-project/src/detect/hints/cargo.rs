//! `Cargo.toml`.

use super::Hint;
use crate::detect::facts::Facts;
use crate::project::Note;

pub const FILES: &[&str] = &["Cargo.toml"];
pub const WHAT: &str = "Rust package or workspace";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    let table: toml::Table = match toml::from_str(hint.text) {
        Ok(table) => table,
        Err(error) => {
            let at =
                crate::Position::in_text(hint.file, hint.text, error.span().map_or(0, |span| span.start));
            return facts.notes.push(Note { text: format!("TOML: {}", error.message()), at });
        }
    };
    let package = table.get("package").or_else(|| table.get("workspace").and_then(|all| all.get("package")));
    let version = package.and_then(|package| package.get("rust-version")).and_then(toml::Value::as_str);
    let at = hint.line_of("[package]");
    hint.language("rust", version, &at, facts);
    for attr in ["cargo", "rustc", "gcc"] {
        hint.package(attr, &at, facts);
    }
}
