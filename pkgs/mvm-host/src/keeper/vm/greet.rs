//! The guest's first words: until it has what it needs to know, and serves.

use super::start::StartError;
use super::{Command, Life};
use crate::Error;
use crate::keeper::machine::{self, Attempt};
use crate::keeper::network::Port;
use crate::keeper::protocol::Timing;
use crate::vmm::Origin;
use mvm_spec::control::ToHost;
use std::time::{Duration, Instant};

impl Life {
    /// Waits for the guest's messages until it is ready, and has its network.
    pub(super) async fn greet(
        &mut self,
        attempt: &mut Attempt,
        deadline: tokio::time::Instant,
        launched: Instant,
    ) -> Result<(), StartError> {
        let (mut awaited, greeting) = ("start its init", Instant::now());
        let mut ready_since = None;
        loop {
            if let Some(since) = ready_since
                && attempt.port.is_none()
            {
                self.timed("wait for the network", Instant::now().saturating_duration_since(since));
                return Ok(());
            }
            let message = tokio::select! {
                attached = attached(&mut attempt.port), if attempt.port.is_some() => {
                    // A network that can't be had is not the guest's fault.
                    attached?;
                    attempt.port = None;
                    continue;
                }
                message = attempt.control.next() => message.map_err(|error| {
                    StartError::Guest(format!("the guest of `{}` spoke nonsense: {error}", self.stored.spec.name))
                })?,
                ended = attempt.vmm.wait() => return Err(StartError::Guest(self.ended_early(&ended))),
                ended = attempt.files.wait() => return Err(StartError::Guest(self.ended_early(&ended))),
                () = tokio::time::sleep_until(deadline) => {
                    let message = format!("the guest of `{}` did not {awaited} in time", self.stored.spec.name);
                    return Err(StartError::Guest(message));
                }
                command = self.inbox.recv() => match command {
                    Some(Command::Stop { .. }) | None => return Err(StartError::Stopped),
                    // Dropping the reply refuses.
                    Some(Command::Ssh { .. }) => continue,
                    Some(Command::Apply { reply }) => {
                        self.applying.push(reply);
                        continue;
                    }
                },
            };
            let (heard, message) = message.unzip();
            match message {
                Some(ToHost::Hello { init_started_us, connected_us, .. }) => {
                    let heard = heard.unwrap_or_else(Instant::now);
                    if attempt.machine.origin == Origin::Boot {
                        // The guest's clock starts with its kernel.
                        let (kernel, connected) =
                            (Duration::from_micros(init_started_us), Duration::from_micros(connected_us));
                        let since = heard.saturating_duration_since(launched);
                        self.timed("VMM and firmware", since.saturating_sub(connected));
                        self.timed("kernel", kernel);
                        self.timed("guest: modules and port", connected.saturating_sub(kernel));
                    } else {
                        self.timed("guest: awake, after all this", greeting.elapsed());
                    }
                    machine::configure(&self.keeper, &self.stored, attempt, heard).await?;
                    awaited = "configure itself";
                }
                Some(ToHost::Step { name, took_us }) => {
                    self.timings.push(Timing { step: format!("guest: {name}"), took_us })
                }
                Some(ToHost::Warning { message }) => self.warnings.push(message),
                // They run when it is ready.
                Some(ToHost::Processes(_)) => {}
                Some(ToHost::Ready) => {
                    awaited = "get its network";
                    ready_since = Some(Instant::now());
                }
                Some(ToHost::Failed { message }) => {
                    // The guest itself says why: another platform would say the same.
                    return Err(StartError::Final(Error::Failed(format!(
                        "the guest of `{}` could not be configured: {message}",
                        self.stored.spec.name
                    ))));
                }
                Some(ToHost::PoweringOff) | None => {
                    // Its console, or the VMM's end, says more.
                    let ended = tokio::time::timeout(Duration::from_secs(2), attempt.vmm.wait()).await;
                    let ended = ended.unwrap_or_else(|_| "the guest closed its control channel".to_owned());
                    return Err(StartError::Guest(self.ended_early(&ended)));
                }
            }
        }
    }

    pub(super) fn ended_early(&self, ended: &str) -> String {
        let log = self.keeper.store.paths(self.name()).vmm_log();
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        let said: Vec<&str> = said.lines().rev().take(3).collect();
        let said = said.into_iter().rev().collect::<Vec<_>>().join("; ");
        let name = self.name();
        if said.is_empty() {
            format!("`{name}` did not come up: {ended}")
        } else {
            format!("`{name}` did not come up: {ended}: {said}")
        }
    }
}

async fn attached(port: &mut Option<Port>) -> crate::Result<()> {
    match port {
        Some(port) => port.attached().await,
        None => Ok(()),
    }
}
