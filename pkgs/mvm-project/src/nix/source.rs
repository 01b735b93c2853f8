//! The files of an evaluation: read once, within the project's root, bounded in size.

use super::Eval;
use super::scope::{Env, Scope};
use super::thunk::Thunk;
use super::value::{At, Unknown, Value};
use crate::files;
use crate::position::Position;
use rnix::ParseError;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Largest Nix file that is read: fifty times what people write by hand.
pub const FILE_MAX_BYTES: u64 = 256 << 10;

/// Something wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Position,
    /// What, and what it means for the result.
    pub text: String,
}

#[derive(Default)]
pub struct Sources {
    files: Vec<Source>,
    imported: HashMap<PathBuf, Thunk>,
    pub problems: Vec<Problem>,
}

struct Source {
    name: String,
    text: Rc<str>,
}

impl Sources {
    pub fn position(&self, at: At) -> Position {
        match self.files.get(at.file as usize) {
            Some(source) => Position::in_text(&source.name, &source.text, at.offset as usize),
            None => Position::line(".", 1),
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.files.iter().map(|source| source.name.clone()).collect()
    }
}

impl Eval {
    /// The value of a Nix file, or of a directory's `default.nix`; read once.
    pub fn import(&self, path: &Path, from: At) -> Value {
        let inside = match files::resolve(&self.root, path) {
            Ok(inside) => inside,
            Err(error) => return Value::unknown(from, error.to_string()),
        };
        let file = if inside.is_dir() { inside.join("default.nix") } else { inside };
        let known = self.sources.borrow().imported.get(&file).cloned();
        let thunk = known.unwrap_or_else(|| {
            let thunk = Thunk::later(from, {
                let file = file.clone();
                move |eval| eval.read(&file, from)
            });
            self.sources.borrow_mut().imported.insert(file, thunk.clone());
            thunk
        });
        thunk.force(self)
    }

    fn read(&self, path: &Path, from: At) -> Value {
        match files::read(&self.root, path, FILE_MAX_BYTES) {
            Ok(text) => self.parse(&files::name(&self.root, path), path, &text),
            Err(error) => {
                let why = error.to_string();
                let at = Position::line(&files::name(&self.root, path), 1);
                self.sources.borrow_mut().problems.push(Problem { at, text: why.clone() });
                Value::unknown(from, why)
            }
        }
    }

    /// The value of a Nix text that stands in file `path`.
    pub fn parse(&self, name: &str, path: &Path, text: &str) -> Value {
        let file = {
            let mut sources = self.sources.borrow_mut();
            sources.files.push(Source { name: name.to_owned(), text: text.into() });
            u32::try_from(sources.files.len() - 1).unwrap_or(u32::MAX)
        };
        if let Err((offset, why)) = super::bounds::check(text) {
            let at = Position::in_text(name, text, offset);
            self.sources
                .borrow_mut()
                .problems
                .push(Problem { at, text: format!("{why}; the file is not read") });
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            return Value::unknown(At { file, offset }, why);
        }
        let parsed = rnix::Root::parse(text);
        for error in parsed.errors().iter().take(5) {
            let (offset, what) = explain(error, text);
            let at = Position::in_text(name, text, offset);
            let text = format!("syntax error: {what}; what depends on this is not known");
            self.sources.borrow_mut().problems.push(Problem { at, text });
        }
        let at = At { file, offset: 0 };
        let Some(expr) = parsed.tree().expr() else {
            return Value::Unknown(Unknown::new(at, "the file has no expression"));
        };
        let dir = path.parent().unwrap_or(Path::new("/"));
        let env = Env { scope: Scope::default(), file, dir: dir.into() };
        self.expr(&expr, &env)
    }
}

/// Byte offset and words of a syntax error.
fn explain(error: &ParseError, text: &str) -> (usize, String) {
    let start = |range: &rnix::TextRange| usize::from(range.start());
    let shown = |range: &rnix::TextRange| {
        let found: String = text
            .get(usize::from(range.start())..usize::from(range.end()))
            .unwrap_or("")
            .chars()
            .take(20)
            .collect();
        if found.trim().is_empty() { "white space".to_owned() } else { format!("`{found}`") }
    };
    match error {
        ParseError::Unexpected(range) | ParseError::UnexpectedExtra(range) => {
            (start(range), format!("{} is not expected here", shown(range)))
        }
        ParseError::UnexpectedWanted(_, range, wanted) => {
            (start(range), format!("{} is not expected here, but {}", shown(range), words(wanted)))
        }
        ParseError::UnexpectedDoubleBind(range) => (start(range), "the arguments are named twice".to_owned()),
        ParseError::DuplicatedArgs(range, name) => (start(range), format!("argument `{name}` stands twice")),
        ParseError::UnexpectedEOF => (text.len(), "the file ends too early".to_owned()),
        ParseError::UnexpectedEOFWanted(wanted) => {
            (text.len(), format!("the file ends before {}", words(wanted)))
        }
        ParseError::RecursionLimitExceeded => (0, "it is nested too deeply".to_owned()),
        other => (0, other.to_string()),
    }
}

fn words(kinds: &[rnix::SyntaxKind]) -> String {
    let word = |kind: &rnix::SyntaxKind| {
        let name = format!("{kind:?}");
        name.trim_start_matches("TOKEN_").trim_start_matches("NODE_").to_lowercase().replace('_', " ")
    };
    kinds.iter().map(word).collect::<Vec<_>>().join(" or ")
}
