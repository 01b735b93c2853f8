//! Asking before something is lost.

use std::io::{BufRead, IsTerminal, Write};

/// Whether somebody is there to answer.
pub fn possible() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Asks `question` on the terminal; anything but a yes is a no.
pub fn ask(question: &str) -> anyhow::Result<bool> {
    eprint!("{} [y/N] ", crate::output::printable(question));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
