//! The life of one VM: a task that starts its processes, configures the guest, waits, and takes everything down.

mod greet;
mod handle;
mod run;
mod start;
mod workload;

pub use handle::Handle;

use super::child::Child;
use super::machine::Attempt;
use super::mux::GuestStream;
use super::protocol::Timing;
use super::server::Keeper;
use crate::store::StoredVm;
use crate::{Error, Result};
use handle::Facts;
use mvm_spec::{VmName, VmSpec};
use start::StartError;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// How far a VM is.
#[derive(Clone, Debug)]
pub enum Progress {
    /// On its way.
    Starting {
        /// What is being done.
        step: String,
    },
    /// Its SSH server answers.
    Running {
        /// Where the time of the start went.
        timings: Vec<Timing>,
        /// What the user should know.
        warnings: Vec<String>,
        /// What the curious may like to know.
        notes: Vec<String>,
    },
    /// On its way out.
    Stopping,
    /// Gone.
    Ended(End),
}

/// How a VM ended.
#[derive(Clone, Debug)]
pub enum End {
    /// As asked.
    Stopped {
        /// By force.
        killed: bool,
    },
    /// Otherwise.
    Failed {
        /// What happened, on what, and what to do.
        message: String,
        /// Last lines of the console, if it had not come up.
        console: Vec<String>,
    },
}

enum Command {
    Stop { force: bool, timeout: Duration },
    Ssh { reply: oneshot::Sender<Result<GuestStream>> },
    Apply { reply: oneshot::Sender<Result<()>> },
}

/// The task of a stored VM, which does nothing until it is polled, and the handle to it; `cold` makes it boot even where
/// there is a template.
pub fn prepare(keeper: Rc<Keeper>, stored: StoredVm, cold: bool) -> (Handle, impl Future<Output = ()>) {
    let step = format!("preparing {}", stored.spec.name);
    let (report, progress) = watch::channel(Progress::Starting { step });
    let (commands, inbox) = mpsc::channel(16);
    let facts = Rc::new(RefCell::new(Facts { started_at: unix_now(), ..Facts::default() }));
    let handle = Handle { name: stored.spec.name.clone(), progress, commands, facts: facts.clone() };
    let told = (Vec::new(), Vec::new(), Vec::new());
    let (timings, warnings, notes) = told;
    let applying = Vec::new();
    let life = Life { keeper, stored, cold, report, inbox, facts, timings, warnings, notes, applying };
    (handle, life.live())
}

struct Life {
    keeper: Rc<Keeper>,
    stored: StoredVm,
    cold: bool,
    report: watch::Sender<Progress>,
    inbox: mpsc::Receiver<Command>,
    facts: Rc<RefCell<Facts>>,
    timings: Vec<Timing>,
    warnings: Vec<String>,
    notes: Vec<String>,
    /// Who wants the stored workload to be run, and waits for the start to be over.
    applying: Vec<oneshot::Sender<Result<()>>>,
}

impl Life {
    async fn live(mut self) {
        let end = match self.start().await {
            Ok(running) => self.run(running).await,
            Err(StartError::Stopped) => End::Stopped { killed: true },
            Err(StartError::Guest(message) | StartError::Template(message)) => {
                let console = super::console::tail(&self.keeper.store.paths(self.name()).console_log());
                End::Failed { message, console }
            }
            Err(StartError::Final(error)) => End::Failed { message: error.to_string(), console: Vec::new() },
        };
        if self.spec().network.is_some() {
            self.close_ports().await;
            self.keeper.network.detach(self.name());
        }
        let end = self.settle(end);
        self.report.send_replace(Progress::Ended(end));
    }

    fn spec(&self) -> &VmSpec {
        &self.stored.spec
    }

    fn name(&self) -> &VmName {
        &self.stored.spec.name
    }

    fn step(&self, step: String) {
        self.report.send_replace(Progress::Starting { step });
    }

    fn timed(&mut self, step: &str, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.timings.push(Timing { step: step.to_owned(), took_us });
    }

    /// Puts the VM's files in order after its end.
    fn settle(&self, end: End) -> End {
        let (store, name) = (&self.keeper.store, self.name());
        let settled = match &end {
            _ if self.spec().ephemeral => match store.delete(name) {
                Err(Error::NoSuchVm(_)) => Ok(()),
                result => result,
            },
            // What a VM that broke off has written is kept: its owner may want it. The next stop ends it.
            End::Failed { message, .. } => {
                store.update_state(name, |state| state.last_failure = Some(message.clone())).map(|_| ())
            }
            End::Stopped { .. } if !self.spec().persistence.enable => store.reset_overlay(name),
            End::Stopped { .. } => Ok(()),
        };
        let Err(error) = settled else { return end };
        let problem = format!("VM `{name}` has ended, but: {error}");
        match end {
            End::Failed { message, console } => {
                End::Failed { message: format!("{message}; {problem}"), console }
            }
            End::Stopped { .. } => End::Failed { message: problem, console: Vec::new() },
        }
    }

    /// Runs `work` unless the user stops the VM meanwhile.
    async fn or_stop<T>(&mut self, work: impl Future<Output = T>) -> Result<T, StartError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.inbox.recv() => match command {
                    Some(Command::Stop { .. }) | None => return Err(StartError::Stopped),
                    Some(Command::Ssh { .. }) => {}
                    Some(Command::Apply { reply }) => self.applying.push(reply),
                },
            }
        }
    }
}

impl Attempt {
    /// Ends both processes.
    async fn kill(&mut self) {
        self.vmm.kill().await;
        // It ends by itself when the VMM has gone; killing it only saves the wait, all writes being done.
        Child::kill(&mut self.files).await;
        if let Some(logs) = self.logs.take() {
            logs.drain().await;
        }
    }
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
