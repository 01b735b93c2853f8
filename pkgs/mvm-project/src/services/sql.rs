//! SQL text.

/// A string literal of standard SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A quoted identifier of standard SQL.
pub fn identifier(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// A quoted identifier of MySQL.
pub fn backquoted(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}
