//! `Gemfile`: it is Ruby, so only plain lines of it are read.

use super::Hint;
use crate::detect::facts::Facts;

pub const FILES: &[&str] = &["Gemfile"];
pub const WHAT: &str = "Ruby gems";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    let version = hint.text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("ruby ")?.trim();
        let quote = rest.chars().next().filter(|c| *c == '"' || *c == '\'')?;
        rest[1..].split_once(quote).map(|(version, _)| version)
    });
    let at = hint.line_of("ruby ");
    hint.language("ruby", version, &at, facts);
    hint.package("ruby", &at, facts);
    hint.package("bundler", &at, facts);
}
