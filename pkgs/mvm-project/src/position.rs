//! Where in a project a fact was read.

use serde::Serialize;
use std::fmt;

/// A place in a file of the project.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// The file, relative to the project's root.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Position {
    /// The place `offset` bytes into `text`, the content of `file`; an offset past the end is the end.
    pub fn in_text(file: &str, text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            file: file.to_owned(),
            line: count(before.bytes().filter(|byte| *byte == b'\n').count() + 1),
            column: count(before[line_start..].chars().count() + 1),
        }
    }

    /// The beginning of a line, from 1.
    pub fn line(file: &str, line: usize) -> Self {
        Self { file: file.to_owned(), line: u32::try_from(line).unwrap_or(u32::MAX), column: 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let at = |offset| {
            let position = Position::in_text("f", "aé\nb\n", offset);
            (position.line, position.column)
        };
        assert_eq!([0, 1, 2, 3, 4, 6, 99].map(at), [(1, 1), (1, 2), (1, 2), (1, 3), (2, 1), (3, 1), (3, 1)]);
        assert_eq!(Position::line("Procfile", 3).to_string(), "Procfile:3:1");
    }
}
