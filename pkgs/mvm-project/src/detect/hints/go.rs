//! `go.mod`.

use super::Hint;
use crate::detect::facts::Facts;

pub const FILES: &[&str] = &["go.mod"];
pub const WHAT: &str = "Go module";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    let version = hint.text.lines().find_map(|line| line.trim().strip_prefix("go "));
    let at = hint.line_of("\ngo ");
    hint.language("go", version, &at, facts);
    hint.package("go", &at, facts);
}
