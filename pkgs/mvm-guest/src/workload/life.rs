//! The life of one process: it waits for others, is prepared, runs, and is started again.

use super::board::Board;
use super::group::{Groups, Running};
use super::output::Outlet;
use super::pause::Pauses;
use super::ready::{Sign, TRY};
use super::start::{Mode, Prepared, Settings};
use crate::reaper::Exit;
use mvm_spec::workload::{Process, ProcessPhase, ProcessStatus, Restart, StopSignal, Workload};
use nix::sys::signal::Signal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A process of the workload.
#[derive(Clone, Debug)]
pub struct Life {
    /// What it is.
    pub process: Process,
    /// What it has in common with others.
    pub settings: Arc<Settings>,
    /// The workload, as it is now.
    pub workload: Arc<Mutex<Arc<Workload>>>,
    /// How all are.
    pub board: Board,
    /// What of it runs.
    pub groups: Groups,
    /// Where it prints.
    pub outlet: Outlet,
    /// What takes its output.
    pub pumps: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// How one run of a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// It can't be run here.
    Impossible(String),
    /// It did not come up.
    Failed(String),
    /// It ended by itself.
    Exit(Exit),
}

/// What follows a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// It is started again.
    Again,
    /// It stays as it is.
    Stay(ProcessPhase),
}

impl Life {
    /// Lives; returns when the process is not to be started again.
    pub async fn live(self) {
        let mut pauses = Pauses::new();
        let mut restarts = 0;
        loop {
            let waits_for = |others| {
                self.set(ProcessPhase::Waiting, None, format!("waits for {others}"));
            };
            self.board.all_ready(&self.process.after, waits_for).await;
            let (end, ran) = self.run().await;
            let detail = end.to_string();
            match end.next(self.process.restart) {
                Next::Stay(phase) => {
                    self.outlet.note(&detail).await;
                    self.set(phase, None, detail);
                    return;
                }
                Next::Again => {
                    let pause = pauses.after(ran);
                    let detail = format!("{detail}; starts again after {} s", pause.as_secs_f32());
                    self.outlet.note(&detail).await;
                    self.set(ProcessPhase::BackingOff, None, detail);
                    tokio::time::sleep(pause).await;
                    restarts += 1;
                    self.status(|status| status.restarts = restarts);
                }
            }
        }
    }

    /// Runs it once; how that ended, and how long it ran.
    async fn run(&self) -> (End, Duration) {
        self.set(ProcessPhase::Starting, None, String::new());
        let workload = self.workload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut begun = None;
        let result = self.run_prepared(&workload, &mut begun).await;
        let ran = begun.map(|begun: Instant| begun.elapsed()).unwrap_or_default();
        (result.map_or_else(|end| end, End::Exit), ran)
    }

    async fn run_prepared(&self, workload: &Workload, begun: &mut Option<Instant>) -> Result<Exit, End> {
        let prepared = Prepared::new(&self.settings, workload, &self.process)
            .map_err(|error| End::Failed(format!("{error:#}")))?;
        for note in &prepared.notes {
            self.outlet.note(note).await;
        }
        if let Some(program) = self.process.program.as_ref().filter(|program| !prepared.has(program)) {
            return Err(End::Impossible(missing(program, self.process.package.as_deref())));
        }
        if !self.process.prepare.is_empty() {
            self.set(ProcessPhase::Starting, None, "is prepared".to_owned());
            self.to_end(&prepared, "its preparation", &self.process.prepare).await?;
        }
        let stop = stop_signal(self.process.stop_signal);
        let mut running = self.start(&prepared, &self.process.exec, Mode::Plain, stop)?;
        *begun = Some(Instant::now());
        self.set(ProcessPhase::Starting, Some(running.pid.as_raw()), String::new());
        let up = async {
            Sign::of(&self.process).wait(async |command| self.succeeds(&prepared, &command).await).await;
            self.set_up(&prepared).await
        };
        let ended = tokio::select! {
            // A process that ended at once was not ready, whatever its port says.
            biased;
            exit = running.ended() => Ok(exit),
            up = up => match up {
                Ok(()) => {
                    self.set(ProcessPhase::Ready, Some(running.pid.as_raw()), String::new());
                    Ok(running.ended().await)
                }
                Err(end) => Err(end),
            },
        };
        // What it left behind, and what was to see whether it is ready.
        self.groups.end_all().await;
        prepared.directories.remove_runtime();
        ended
    }

    /// Runs its setup, if that was not done yet.
    async fn set_up(&self, prepared: &Prepared<'_>) -> Result<(), End> {
        if self.process.setup.is_empty() || prepared.directories.is_set_up() {
            return Ok(());
        }
        self.status(|status| status.detail = "is set up".to_owned());
        self.to_end(prepared, "its setup", &self.process.setup).await?;
        prepared.directories.note_setup().map_err(|error| End::Failed(format!("{error:#}")))
    }

    /// Runs a command that must succeed.
    async fn to_end(&self, prepared: &Prepared<'_>, what: &str, script: &str) -> Result<(), End> {
        let mut running = self.start(prepared, script, Mode::Strict, Signal::SIGTERM)?;
        let exit = running.ended().await;
        self.groups.end(running.pid).await;
        if exit.success() { Ok(()) } else { Err(End::Failed(format!("{what} {}", ended(exit)))) }
    }

    /// Whether a command succeeds.
    async fn succeeds(&self, prepared: &Prepared<'_>, script: &str) -> bool {
        let mut command = prepared.command(script, Mode::Plain);
        let Ok(mut running) = self.groups.start(&mut command, Signal::SIGTERM) else {
            return false;
        };
        let exit = tokio::time::timeout(TRY, running.ended()).await;
        self.groups.end(running.pid).await;
        exit.is_ok_and(Exit::success)
    }

    fn start(&self, prepared: &Prepared<'_>, script: &str, mode: Mode, stop: Signal) -> Result<Running, End> {
        let failed = |error: anyhow::Error| End::Failed(format!("{error:#}"));
        let (mut command, output) = prepared.command_with_output(script, mode).map_err(failed)?;
        let running = self
            .groups
            .start(&mut command, stop)
            .map_err(|error| End::Failed(format!("it can't be started: {error}")))?;
        let mut pumps = self.pumps.lock().unwrap_or_else(PoisonError::into_inner);
        pumps.retain(|pump| !pump.is_finished());
        pumps.push(tokio::spawn(self.outlet.clone().copy(output)));
        // `command` holds the pipe open, which would never end.
        drop(command);
        Ok(running)
    }

    fn set(&self, phase: ProcessPhase, pid: Option<i32>, detail: String) {
        self.status(|status| (status.phase, status.pid, status.detail) = (phase, pid, detail));
    }

    fn status(&self, change: impl FnOnce(&mut ProcessStatus)) {
        self.board.set(&self.process.name, change);
    }
}

impl End {
    fn next(&self, restart: Restart) -> Next {
        let success = matches!(self, Self::Exit(exit) if exit.success());
        match (self, restart) {
            (Self::Impossible(_), _) => Next::Stay(ProcessPhase::Failed),
            (_, Restart::Always) => Next::Again,
            (_, Restart::OnFailure) if !success => Next::Again,
            _ if success => Next::Stay(ProcessPhase::Ended),
            _ => Next::Stay(ProcessPhase::Failed),
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Impossible(problem) | Self::Failed(problem) => f.write_str(problem),
            Self::Exit(exit) => f.write_str(&ended(*exit)),
        }
    }
}

fn stop_signal(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::SIGTERM,
        StopSignal::Int => Signal::SIGINT,
        StopSignal::Quit => Signal::SIGQUIT,
        StopSignal::Hup => Signal::SIGHUP,
    }
}

/// How it ended, in words.
fn ended(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("ended with exit code {code}"),
        Exit::Signal { signal, core_dumped: false } => format!("was ended by {signal}"),
        Exit::Signal { signal, core_dumped: true } => format!("was ended by {signal}, with a core dump"),
    }
}

fn missing(program: &str, package: Option<&str>) -> String {
    let then = "on this VM's host, then restart the VM";
    match package {
        Some(package) => {
            format!("the program `{program}` is not there: install the package {package} {then}")
        }
        None => format!("the program `{program}` is not there: install it {then}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_an_end_is_as_the_process_says() {
        let failed = || End::Failed("x".to_owned());
        let killed = || End::Exit(Exit::Signal { signal: Signal::SIGKILL, core_dumped: false });
        let code = |code| End::Exit(Exit::Code(code));
        let stays = Next::Stay;
        for (end, always, on_failure, no) in [
            (code(0), Next::Again, stays(ProcessPhase::Ended), stays(ProcessPhase::Ended)),
            (code(3), Next::Again, Next::Again, stays(ProcessPhase::Failed)),
            (killed(), Next::Again, Next::Again, stays(ProcessPhase::Failed)),
            (failed(), Next::Again, Next::Again, stays(ProcessPhase::Failed)),
        ] {
            let next = [Restart::Always, Restart::OnFailure, Restart::No].map(|restart| end.next(restart));
            assert_eq!(next, [always, on_failure, no], "{end:?}");
        }
        let impossible = End::Impossible(missing("postgres", Some("postgresql")));
        assert_eq!(impossible.next(Restart::Always), Next::Stay(ProcessPhase::Failed));
        assert!(impossible.to_string().contains("install the package postgresql"));
    }
}
