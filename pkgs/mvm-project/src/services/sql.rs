//! SQL text, and URLs of databases.

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

/// A part of a URL, with everything but unreserved characters percent-encoded (RFC 3986 §2.1).
pub fn url_part(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
