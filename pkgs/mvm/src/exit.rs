//! Exit codes, and the one place where errors are printed.

use std::process::ExitCode;

/// A verb's result: the process' exit code, or what went wrong.
pub type Outcome = anyhow::Result<Exit>;

/// How the process ends, if nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Everything is well.
    pub const SUCCESS: Self = Self(0);
    /// The verb did its work, and the answer is bad (`doctor` found a fault).
    pub const FAILURE: Self = Self(1);

    /// The end of a process by signal `number`, as shells write it: 128 + number.
    pub fn signal(number: i32) -> Self {
        Self(u8::try_from(128 + number).unwrap_or(255))
    }
}

/// An error of `mvm` itself in a verb that passes a command's exit code on: told apart by 255, as ssh(1) does.
#[derive(Debug)]
pub struct NotTheCommand(pub anyhow::Error);

impl std::fmt::Display for NotTheCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for NotTheCommand {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// The reader of our standard output is gone; nobody is left to tell.
#[derive(Debug)]
pub struct OutputClosed;

impl std::fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for OutputClosed {}

/// For verbs that pass a command's exit code on: makes every error one with exit code 255.
pub fn command_outcome(outcome: Outcome) -> Outcome {
    outcome.map_err(
        |error| {
            if error.is::<OutputClosed>() { error } else { anyhow::Error::new(NotTheCommand(error)) }
        },
    )
}

/// Prints an error, once, with its causes; returns the process' exit code.
pub fn report(outcome: Outcome) -> ExitCode {
    let error = match outcome {
        Ok(Exit(code)) => return ExitCode::from(code),
        Err(error) => error,
    };
    if error.is::<OutputClosed>() {
        return ExitCode::from(Exit::signal(libc::SIGPIPE).0);
    }
    let label = crate::output::red("error:");
    eprintln!("mvm: {label} {}", crate::output::printable(&chain(&error)));
    ExitCode::from(if error.is::<NotTheCommand>() { 255 } else { 1 })
}

/// The error with its causes, without those whose text the error before already has.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_told_once() {
        let io = || std::io::Error::other("disk on fire");
        let error = Err::<(), _>(io()).context("can't write").unwrap_err();
        assert_eq!(chain(&error), "can't write: disk on fire");
        let error = Err::<(), _>(io()).context("can't write: disk on fire").unwrap_err();
        assert_eq!(chain(&error), "can't write: disk on fire");
    }

    #[test]
    fn the_code_of_a_signal_is_128_more() {
        assert_eq!(Exit::signal(libc::SIGINT), Exit(130));
        assert_eq!(Exit::signal(libc::SIGTERM), Exit(143));
    }
}
