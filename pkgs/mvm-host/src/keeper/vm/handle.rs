//! What the rest of the keeper has of a VM's task.

use super::{Command, End, Progress};
use crate::keeper::mux::GuestStream;
use crate::keeper::protocol::{Phase, RunningVm};
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::workload::ProcessStatus;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// A VM's task, for the rest of the keeper.
#[derive(Clone)]
pub struct Handle {
    pub(super) name: VmName,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) facts: Rc<RefCell<Facts>>,
}

/// What `list` shows.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) started_at: u64,
    pub(super) vmm_pid: Option<i32>,
    pub(super) fs_pid: Option<i32>,
    pub(super) accel: String,
    pub(super) warm: bool,
    pub(super) processes: Vec<ProcessStatus>,
}

impl Handle {
    /// For `list`.
    pub fn running(&self) -> RunningVm {
        let facts = self.facts.borrow();
        RunningVm {
            name: self.name.clone(),
            phase: match &*self.progress.borrow() {
                Progress::Starting { .. } => Phase::Starting,
                Progress::Running { .. } => Phase::Running,
                Progress::Stopping | Progress::Ended(_) => Phase::Stopping,
            },
            started_at: facts.started_at,
            vmm_pid: facts.vmm_pid,
            fs_pid: facts.fs_pid,
            accel: facts.accel.clone(),
            warm: facts.warm,
        }
    }

    /// To watch it.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Whether it is on its way out, or gone.
    pub fn is_ending(&self) -> bool {
        matches!(&*self.progress.borrow(), Progress::Stopping | Progress::Ended(_))
    }

    /// Waits until it is gone.
    pub async fn ended(&self) {
        // An error means that the task is gone, and with it the VM.
        let _ = self.progress.clone().wait_for(|progress| matches!(progress, Progress::Ended(_))).await;
    }

    /// Stops it; returns when it is gone and its files are in order.
    pub async fn stop(&self, force: bool, timeout: Duration) -> End {
        // Without a receiver it is ending already.
        let _ = self.commands.send(Command::Stop { force, timeout }).await;
        let mut progress = self.progress.clone();
        match progress.wait_for(|progress| matches!(progress, Progress::Ended(_))).await.as_deref() {
            Ok(Progress::Ended(end)) => end.clone(),
            _ => End::Stopped { killed: true },
        }
    }

    /// How the processes of its workload are.
    pub fn processes(&self) -> Vec<ProcessStatus> {
        self.facts.borrow().processes.clone()
    }

    /// Has it run its stored workload; `false` if it is on its way out. One that starts has it when it has started.
    pub async fn apply_workload(&self) -> Result<bool> {
        let (reply, applied) = oneshot::channel();
        if self.commands.send(Command::Apply { reply }).await.is_err() {
            return Ok(false);
        }
        match applied.await {
            Ok(applied) => applied.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// A stream to its SSH server.
    pub async fn ssh(&self) -> Result<GuestStream> {
        let refused = || Error::Failed(format!("VM `{}` is not up; `mvm status {0}` says more", self.name));
        let (reply, stream) = oneshot::channel();
        self.commands.send(Command::Ssh { reply }).await.map_err(|_| refused())?;
        stream.await.map_err(|_| refused())?
    }
}
