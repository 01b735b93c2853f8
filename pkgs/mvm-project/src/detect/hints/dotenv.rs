//! `.env`: names of variables. Their values are left where they are: they are secrets, often enough.

use super::Hint;
use crate::detect::facts::Facts;
use crate::project::{Certainty, EnvFile};

pub const FILES: &[&str] = &[".env"];
pub const WHAT: &str = "environment variables; their values are not shown";

pub fn read(hint: &Hint<'_>, facts: &mut Facts) {
    let names: Vec<String> = hint
        .text
        .lines()
        .filter_map(|line| {
            let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
            let name = line.split_once('=')?.0.trim();
            mvm_spec::latest::is_variable_name(name).then(|| name.to_owned())
        })
        .collect();
    match facts.env_files.iter_mut().find(|there| there.file == hint.file) {
        Some(there) => there.names = names,
        None => {
            facts.env_files.push(EnvFile { file: hint.file.to_owned(), names, certainty: Certainty::Hint });
        }
    }
}
