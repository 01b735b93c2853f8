//! `pyproject.toml` and `requirements.txt`.

use super::Hint;
use crate::detect::facts::Facts;
use crate::project::Note;

pub const FILES: &[&str] = &["pyproject.toml", "requirements.txt", "setup.py"];
pub const WHAT: &str = "Python project";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    let table: toml::Table = match hint.file.ends_with(".toml").then(|| toml::from_str(hint.text)) {
        None => toml::Table::new(),
        Some(Ok(table)) => table,
        Some(Err(error)) => {
            let at =
                crate::Position::in_text(hint.file, hint.text, error.span().map_or(0, |span| span.start));
            return facts.notes.push(Note { text: format!("TOML: {}", error.message()), at });
        }
    };
    let at_path = |path: &[&str]| {
        path.iter().try_fold(None, |found: Option<&toml::Value>, name| match found {
            None => table.get(*name).map(Some),
            Some(value) => value.get(name).map(Some),
        })
    };
    let text = |path: &[&str]| at_path(path).flatten().and_then(toml::Value::as_str);
    // A pyproject.toml may only configure a linter.
    let project = at_path(&["project"]).is_some() || at_path(&["tool", "poetry"]).is_some();
    if hint.file.ends_with(".toml") && !project {
        return;
    }
    let version =
        text(&["project", "requires-python"]).or_else(|| text(&["tool", "poetry", "dependencies", "python"]));
    let at = hint.line_of("requires-python");
    hint.language("python", version, &at, facts);
    hint.package("python3", &at, facts);
    for (lock, attr) in
        [("uv.lock", "uv"), ("poetry.lock", "poetry"), ("pdm.lock", "pdm"), ("Pipfile", "pipenv")]
    {
        if hint.beside(lock) {
            hint.package(attr, &at, facts);
        }
    }
}
