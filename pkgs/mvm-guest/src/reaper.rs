//! Children and orphans: the one place that waits for processes.
//!
//! PID 1 inherits every orphan and must wait for it, without taking the exit status of a child that somebody awaits.
//! So nobody else waits: a child is registered when it is started ([`Reaper::spawn`]) and its status delivered.

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this status.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal.
        signal: Signal,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
}

impl Exit {
    /// Whether the status is 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

/// Which children are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every child, orphans included: for PID 1.
    All,
    /// Only those started by [`Reaper::spawn`]: for a program that has other children.
    Own,
}

/// Waits for processes; clones share the children.
#[derive(Clone, Debug)]
pub struct Reaper {
    scope: Scope,
    awaited: Arc<Mutex<HashMap<Pid, oneshot::Sender<Exit>>>>,
}

impl Reaper {
    /// A reaper, and its task on the current runtime, which ends with the runtime.
    pub fn start(scope: Scope) -> std::io::Result<Self> {
        let mut child_ended = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?;
        let reaper = Self { scope, awaited: Arc::default() };
        let task = reaper.clone();
        tokio::spawn(async move {
            loop {
                task.reap();
                if child_ended.recv().await.is_none() {
                    break;
                }
            }
        });
        Ok(reaper)
    }

    /// Starts `command`. The receiver gets how it ended; the child must not be waited for in another way.
    pub fn spawn(&self, command: &mut Command) -> std::io::Result<(Child, Pid, oneshot::Receiver<Exit>)> {
        // Held over the start: the child may end, and `reap` run, before it is registered.
        let mut awaited = self.awaited();
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let (sender, receiver) = oneshot::channel();
        awaited.insert(pid, sender);
        Ok((child, pid, receiver))
    }

    fn awaited(&self) -> MutexGuard<'_, HashMap<Pid, oneshot::Sender<Exit>>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reap(&self) {
        let mut awaited = self.awaited();
        match self.scope {
            Scope::All => {
                while let Some((pid, exit)) = ended(Pid::from_raw(-1)) {
                    if let Some(sender) = awaited.remove(&pid) {
                        // The receiver may have lost interest.
                        let _ = sender.send(exit);
                    }
                }
            }
            Scope::Own => {
                let pids: Vec<_> = awaited.keys().copied().collect();
                for pid in pids {
                    if let Some((pid, exit)) = ended(pid)
                        && let Some(sender) = awaited.remove(&pid)
                    {
                        let _ = sender.send(exit);
                    }
                }
            }
        }
    }
}

fn ended(which: Pid) -> Option<(Pid, Exit)> {
    loop {
        match waitpid(which, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => return Some((pid, Exit::Code(code))),
            Ok(WaitStatus::Signaled(pid, signal, core_dumped)) => {
                return Some((pid, Exit::Signal { signal, core_dumped }));
            }
            Err(nix::errno::Errno::EINTR) => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_child_gets_its_own_status() {
        let reaper = Reaper::start(Scope::Own).unwrap();
        let mut receivers = Vec::new();
        for code in 0..20 {
            let (_, _, receiver) =
                reaper.spawn(Command::new("sh").args(["-c", &format!("exit {code}")])).unwrap();
            receivers.push((code, receiver));
        }
        for (code, receiver) in receivers {
            assert_eq!(receiver.await.unwrap(), Exit::Code(code));
        }
    }

    #[tokio::test]
    async fn a_signal_is_told_from_a_status() {
        let reaper = Reaper::start(Scope::Own).unwrap();
        let (_, _, receiver) = reaper.spawn(Command::new("sh").args(["-c", "kill -USR1 $$"])).unwrap();
        assert_eq!(receiver.await.unwrap(), Exit::Signal { signal: Signal::SIGUSR1, core_dumped: false });
    }
}
