//! A VM that runs: commands for it, and its end.

use super::{Command, End, Life, Progress};
use crate::client::write_frame;
use crate::fault;
use crate::keeper::machine::Attempt;
use mvm_spec::control::{StreamKind, ToGuest, ToHost};
use std::time::Duration;

impl Life {
    /// The VM runs: serves commands until it ends.
    pub(super) async fn run(&mut self, mut attempt: Attempt) -> End {
        // A state that can't be written (a full disk) does not end a running VM.
        let started_at = self.facts.borrow().started_at;
        let noted = self.keeper.store.update_state(self.name(), |state| {
            state.started_at = Some(started_at);
            state.last_failure = None;
        });
        if let Err(error) = noted {
            self.warnings.push(error.to_string());
        }
        fault::point("start-noted");
        if self.spec().network.is_some() {
            self.warnings.extend(self.keeper.network.warnings());
            self.warnings.extend(self.keeper.ports.warnings());
        }
        self.begin_workload(&mut attempt).await;
        let timings = std::mem::take(&mut self.timings);
        self.report.send_replace(Progress::Running {
            timings,
            warnings: self.warnings.clone(),
            notes: std::mem::take(&mut self.notes),
        });
        let mut farewell = false;
        loop {
            tokio::select! {
                message = attempt.control.next(), if !farewell => match message {
                    Ok(Some((_, ToHost::PoweringOff))) => {
                        self.report.send_replace(Progress::Stopping);
                        farewell = true;
                    }
                    Ok(Some((_, ToHost::Processes(processes)))) => self.note_processes(&attempt, processes),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => farewell = true,
                },
                ended = attempt.vmm.wait() => {
                    attempt.kill().await;
                    return if farewell {
                        // Somebody in the guest shut it down.
                        End::Stopped { killed: false }
                    } else {
                        End::Failed { message: format!("VM `{}` broke off: {ended}", self.name()), console: Vec::new() }
                    };
                }
                ended = attempt.files.wait() => {
                    // The VMM closes its connections before it ends: it may be the one that ended.
                    let vmm = tokio::time::timeout(Duration::from_millis(500), attempt.vmm.wait()).await;
                    attempt.kill().await;
                    return match vmm {
                        Ok(_) if farewell => End::Stopped { killed: false },
                        vmm => {
                            let ended = vmm.unwrap_or(ended);
                            End::Failed { message: format!("VM `{}` broke off: {ended}", self.name()), console: Vec::new() }
                        }
                    };
                }
                command = self.inbox.recv() => match command {
                    Some(Command::Ssh { reply }) => {
                        let mux = attempt.mux.clone();
                        tokio::task::spawn_local(async move {
                            // Who asked may be gone.
                            let _ = reply.send(mux.open(StreamKind::Ssh).await);
                        });
                    }
                    Some(Command::Apply { reply }) => {
                        // Who asked may be gone.
                        let _ = reply.send(self.apply_workload(&mut attempt).await);
                    }
                    Some(Command::Stop { force, timeout }) => {
                        self.report.send_replace(Progress::Stopping);
                        let killed = force || !shut_down(&mut attempt, timeout).await;
                        attempt.kill().await;
                        return End::Stopped { killed };
                    }
                    None => {
                        attempt.kill().await;
                        return End::Stopped { killed: true };
                    }
                },
            }
        }
    }
}

/// Asks the guest to power off; whether it did within `timeout`.
async fn shut_down(attempt: &mut Attempt, timeout: Duration) -> bool {
    let asked = write_frame(&mut attempt.control.writer, &ToGuest::PowerOff).await;
    let ended = async {
        let mut speaks = true;
        loop {
            tokio::select! {
                _ = attempt.vmm.wait() => return,
                // A guest whose words nobody takes would not come to its end.
                message = attempt.control.next(), if speaks => speaks = matches!(message, Ok(Some(_))),
            }
        }
    };
    asked.is_ok() && tokio::time::timeout(timeout, ended).await.is_ok()
}
