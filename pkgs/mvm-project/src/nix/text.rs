//! Strings, some parts of which may not be known.

use super::value::{At, Piece, Text, Unknown, Value};
use super::{Eval, TEXT_MAX_BYTES};
use rnix::ast::{self, InterpolPart};

/// The parts of a string literal, with escapes and indentation dealt with.
///
/// A string with a syntax error in it may lack what the library counts on; such strings have no parts.
pub fn parts(string: &ast::Str) -> Vec<InterpolPart<String>> {
    use rnix::SyntaxKind::{NODE_INTERPOL, TOKEN_STRING_CONTENT, TOKEN_STRING_END, TOKEN_STRING_START};
    use rowan::ast::AstNode as _;
    let whole = string.syntax().children_with_tokens().all(|child| {
        matches!(child.kind(), NODE_INTERPOL | TOKEN_STRING_CONTENT | TOKEN_STRING_END | TOKEN_STRING_START)
    });
    if whole { string.normalized_parts() } else { Vec::new() }
}

/// A string of `pieces`, neighbouring texts as one.
pub fn joined(pieces: Vec<Piece>, at: At) -> Value {
    let mut whole: Vec<Piece> = Vec::new();
    let mut text = String::new();
    let mut length = 0;
    for piece in pieces {
        match piece {
            Piece::Text(more) => {
                length += more.len();
                if length > TEXT_MAX_BYTES {
                    return Value::unknown(at, "the string becomes too long to be followed");
                }
                text.push_str(&more);
            }
            other => {
                // As if it were as long as a path in the store.
                length += 64;
                if length > TEXT_MAX_BYTES {
                    return Value::unknown(at, "the string becomes too long to be followed");
                }
                if !text.is_empty() {
                    whole.push(Piece::Text(std::mem::take(&mut text).into()));
                }
                whole.push(other);
            }
        }
    }
    if !text.is_empty() {
        whole.push(Piece::Text(text.into()));
    }
    Value::Text(whole.into())
}

impl Eval {
    /// What a value is as part of a string.
    pub fn pieces(&self, value: Value, at: At) -> Text {
        let one = |piece| Text::from([piece]);
        match self.concrete(value, at) {
            Value::Text(text) => text,
            Value::Int(number) => one(Piece::Text(number.to_string().into())),
            Value::Float(number) => one(Piece::Text(format!("{number:.6}").into())),
            Value::Bool(true) => one(Piece::Text("1".into())),
            Value::Bool(false) | Value::Null => Text::from([]),
            Value::Path(path) => match self.in_guest(&path) {
                Some(text) => one(Piece::Text(text.into())),
                None => one(Piece::Unknown(Unknown::new(at, "the path leads out of the project"))),
            },
            Value::Package(package) => one(Piece::Package(package)),
            Value::List(list) => {
                let mut all = Vec::new();
                for (index, item) in list.items.iter().enumerate() {
                    if index > 0 {
                        all.push(Piece::Text(" ".into()));
                    }
                    match self.nested(at, || self.pieces(item.force(self), at)) {
                        Ok(pieces) => all.extend(pieces.iter().cloned()),
                        Err(unknown) => all.push(Piece::Unknown(unknown)),
                    }
                }
                all.extend(list.open.iter().cloned().map(Piece::Unknown));
                match joined(all, at) {
                    Value::Text(text) => text,
                    other => one(Piece::Unknown(self.not_a(&other, "a string", at))),
                }
            }
            other => one(Piece::Unknown(self.not_a(&other, "a string", at))),
        }
    }

    /// Where a path of the project is in the guest.
    pub fn in_guest(&self, path: &std::path::Path) -> Option<String> {
        let inside = path.strip_prefix(self.root()).ok()?;
        let mut text = mvm_spec::latest::PROJECT_MOUNT.to_owned();
        for part in inside.iter() {
            text.push('/');
            text.push_str(part.to_str()?);
        }
        Some(text)
    }

    /// The string, if it is one and known whole.
    pub fn plain(&self, value: Value, at: At) -> Result<String, Unknown> {
        match self.concrete(value, at) {
            Value::Text(text) => self.plain_text(&text, at),
            Value::Path(path) => {
                self.in_guest(&path).ok_or_else(|| Unknown::new(at, "the path leads out of the project"))
            }
            other => Err(self.not_a(&other, "a string", at)),
        }
    }

    fn plain_text(&self, text: &Text, at: At) -> Result<String, Unknown> {
        if let Some(plain) = super::value::plain(text) {
            return Ok(plain);
        }
        Err(text
            .iter()
            .find_map(|piece| match piece {
                Piece::Unknown(unknown) => Some(unknown.clone()),
                _ => None,
            })
            .unwrap_or_else(|| Unknown::new(at, "it contains the path of a package")))
    }
}
