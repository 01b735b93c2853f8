//! Progress, warnings and notes, on standard error.

use crate::output::yellow;
use indicatif::{ProgressBar, ProgressStyle};
use mvm_host::keeper::protocol::{Event, Timing};
use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

/// After this time without a word, a non-terminal gets one line that says what is being waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// A spinner that shows only for a blink disturbs more than it tells.
const TICK: Duration = Duration::from_millis(100);

/// Shows what is going on: a spinner on a terminal, lines with `-v`, little otherwise.
pub struct Progress {
    verbose: u8,
    quiet: bool,
    terminal: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    spinner: Option<ProgressBar>,
    step: String,
}

impl Progress {
    /// With `verbose` times `-v`, and `-q` or not.
    pub fn new(verbose: u8, quiet: bool) -> Self {
        Self { verbose, quiet, terminal: std::io::stderr().is_terminal(), state: RefCell::default() }
    }

    /// Something begins that may take a while.
    pub fn step(&self, text: &str) {
        let mut state = self.state.borrow_mut();
        state.step = text.to_owned();
        if self.quiet {
            return;
        }
        if self.verbose > 0 {
            eprintln!("mvm: {text}");
        } else if self.terminal {
            let spinner = state.spinner.get_or_insert_with(|| {
                let spinner = ProgressBar::new_spinner();
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                    spinner.set_style(style);
                }
                spinner.enable_steady_tick(TICK);
                spinner
            });
            spinner.set_message(text.to_owned());
        }
    }

    /// What began is done: takes the spinner away.
    pub fn done(&self) {
        let mut state = self.state.borrow_mut();
        state.step.clear();
        if let Some(spinner) = state.spinner.take() {
            spinner.finish_and_clear();
        }
    }

    /// Awaits `future`; where no spinner shows it, says so once if it takes long.
    pub async fn during<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        if !self.quiet && self.verbose == 0 && !self.terminal {
            match tokio::time::timeout(PATIENCE, &mut future).await {
                Ok(value) => return value,
                Err(_) => {
                    let step = self.state.borrow().step.clone();
                    if !step.is_empty() {
                        eprintln!("mvm: {step} …");
                    }
                }
            }
        }
        future.await
    }

    /// Shows an event of the keeper.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Step { text } => self.step(text),
            Event::Warning { text } => self.warn(text),
            _ => {}
        }
    }

    /// Something the user should know, even with `-q`.
    pub fn warn(&self, text: &str) {
        self.line(&format!("mvm: {} {}", yellow("warning:"), crate::output::printable(text)));
    }

    /// Something the user may like to know.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.line(&format!("mvm: {}", crate::output::printable(text)));
        }
    }

    /// Something for the curious, with `-v`.
    pub fn detail(&self, text: &str) {
        if self.verbose > 0 {
            self.line(&format!("mvm: {}", crate::output::printable(text)));
        }
    }

    /// Where the time went, with `-v`.
    pub fn timings(&self, timings: &[Timing]) {
        for Timing { step, took_us } in timings {
            self.took(step, Duration::from_micros(*took_us));
        }
    }

    /// How long `step` took, with `-v`.
    pub fn took(&self, step: &str, time: Duration) {
        if self.verbose > 0 {
            eprintln!("mvm: {:>9.3} ms  {step}", time.as_secs_f64() * 1000.0);
        }
    }

    /// A bar for `total` bytes on a terminal; `None` where it can't be seen.
    pub fn bar(&self, total: Option<u64>) -> Option<ProgressBar> {
        if self.quiet || !self.terminal {
            return None;
        }
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{bar:30} {bytes} of {total_bytes} {bytes_per_sec} {msg}")
            }
            None => (ProgressBar::no_length(), "{spinner} {bytes} {bytes_per_sec} {msg}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Some(bar)
    }

    fn line(&self, text: &str) {
        match &self.state.borrow().spinner {
            Some(spinner) => spinner.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}
