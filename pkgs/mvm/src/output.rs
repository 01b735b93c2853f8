//! What goes to standard output (data) and how text looks: colours, tables, JSON.

use crate::exit::OutputClosed;
use clap::ValueEnum;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static COLOR: AtomicU8 = AtomicU8::new(0);

/// Sets for the whole process when colours are used.
pub fn set_colors(color: Color) {
    COLOR.store(color as u8, Ordering::Relaxed);
}

/// Whether to colour what goes to `stream`. https://no-color.org: set and not empty means no.
fn colored(stream: &impl IsTerminal) -> bool {
    match COLOR.load(Ordering::Relaxed) {
        always if always == Color::Always as u8 => true,
        never if never == Color::Never as u8 => false,
        _ => {
            stream.is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

fn paint(text: &str, code: &str, stream: &impl IsTerminal) -> String {
    if colored(stream) { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// `text` in red, for standard error.
pub fn red(text: &str) -> String {
    paint(text, "1;31", &std::io::stderr())
}

/// `text` in yellow, for standard error.
pub fn yellow(text: &str) -> String {
    paint(text, "1;33", &std::io::stderr())
}

/// The colour of a state, for standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Between two states, or worth a look.
    Notice,
    /// At fault.
    Bad,
    /// Nothing to say about.
    Plain,
}

/// `text` in the colour of `tone`, for standard output.
pub fn tone(text: &str, tone: Tone) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Notice => "33",
        Tone::Bad => "31",
        Tone::Plain => return text.to_owned(),
    };
    paint(text, code, &std::io::stdout())
}

/// Writes to standard output; an error if its reader is gone.
pub fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("can't write to standard output")),
    }
}

/// Writes `value` as indented JSON to standard output.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    print(text)
}

/// Columns without borders, two spaces between them.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header.to_vec());
    }
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `text` without what could steer a terminal: a guest's file names and console may hold anything. Control characters
/// other than line feed and tab become visible (`^[`, `^M`, …).
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            '\x7f' => shown.push_str("^?"),
            '\0'..='\x1f' => {
                shown.push('^');
                shown.push(char::from(character as u8 + b'@'));
            }
            // C1 controls (ECMA-48): 8-bit forms of escape sequences.
            '\u{80}'..='\u{9f}' => shown.push('\u{fffd}'),
            _ => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_no_borders_and_no_trailing_blanks() {
        let text = table(&["NAME", "STATUS"], vec![vec!["a".into(), "running".into()]]);
        assert_eq!(text, "NAME  STATUS\na     running\n");
        assert_eq!(
            table(&[], vec![vec!["name".into(), "x".into()], vec!["k".into(), String::new()]]),
            "name  x\nk\n"
        );
    }

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(printable("a\tb\n\x1b[31mc\r\u{9b}2J\x7f"), "a\tb\n^[[31mc^M\u{fffd}2J^?");
    }
}
