//! The start of a VM: from a template, else by a boot; its processes, its ports.

use super::{Life, Progress};
use crate::boot::accel::Accelerator;
use crate::keeper::log_file;
use crate::keeper::machine::{self, Attempt, Start};
use crate::keeper::prepare::{self, Prepared};
use crate::keeper::warm::{self, Source};
use crate::vmm::Platform;
use crate::{Error, fault};
use std::time::{Duration, Instant};

/// Why a start came to nothing.
pub(super) enum StartError {
    /// The user asked for it.
    Stopped,
    /// The guest did not come up: another platform may do better.
    Guest(String),
    /// The template is damaged: another can be made.
    Template(String),
    /// Trying again makes no difference.
    Final(Error),
}

impl From<Error> for StartError {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Life {
    pub(super) async fn start(&mut self) -> Result<Attempt, StartError> {
        let begun = Instant::now();
        let paths = self.keeper.store.paths(self.name());
        log_file::rotate(&paths.console_log());
        let work = prepare::prepare(self.keeper.realm.clone(), self.stored.spec.guest.clone());
        let prepared = self.or_stop(work).await??;
        self.timed("find kernel, initramfs and accelerator", begun.elapsed());
        self.facts.borrow_mut().accel = match prepared.accelerator {
            Accelerator::Kvm => "kvm".to_owned(),
            Accelerator::Tcg => "tcg".to_owned(),
        };
        if let Some(attempt) = self.start_warm(&prepared).await? {
            return Ok(attempt);
        }
        match self.attempt(&prepared, &Start::Cold(Platform::Microvm)).await {
            Err(StartError::Guest(message)) => {
                // The one fault seen in practice is a lost timer interrupt of the microvm platform under emulation on
                // a busy host; q35 has other timers.
                self.warnings.push(format!("{message}; trying the q35 platform"));
                self.attempt(&prepared, &Start::Cold(Platform::Q35)).await
            }
            result => result,
        }
    }

    /// Starts from a template; `None` if that can't be, which is then noted, and a boot is what is left.
    async fn start_warm(&mut self, prepared: &Prepared) -> Result<Option<Attempt>, StartError> {
        if self.cold {
            return Ok(None);
        }
        let begun = Instant::now();
        let (keeper, stored) = (self.keeper.clone(), self.stored.clone());
        let (report, name) = (self.report.clone(), self.name().clone());
        let on_making = move || {
            let step = format!("preparing a template, once, for {name} and all like it");
            report.send_replace(Progress::Starting { step });
        };
        let Source { key, template } =
            self.or_stop(warm::source(&keeper, &stored, prepared, on_making)).await?;
        self.timed("find the template", begun.elapsed());
        let problem = match template {
            Err(reason) => reason,
            Ok(template) => match self.attempt(prepared, &Start::Warm(template)).await {
                Ok(attempt) => {
                    self.facts.borrow_mut().warm = true;
                    return Ok(Some(attempt));
                }
                Err(StartError::Stopped) => return Err(StartError::Stopped),
                // Not the template's fault, or a boot would meet it as well and say so.
                Err(StartError::Final(error)) => error.to_string(),
                Err(StartError::Template(message)) => {
                    if let Some(key) = key {
                        crate::template::discard(&keeper.realm.cache_dir, &key);
                    }
                    message
                }
                Err(StartError::Guest(message)) => {
                    if let Some(key) = key {
                        crate::template::note_failure(&keeper.realm.cache_dir, &key, &message);
                    }
                    message
                }
            },
        };
        tracing::info!("{} boots: {problem}", self.name());
        self.notes.push(format!("{} was booted, not made from a template: {problem}", self.name()));
        Ok(None)
    }

    /// Starts the processes and configures the guest, up to a guest that serves SSH.
    async fn attempt(&mut self, prepared: &Prepared, start: &Start) -> Result<Attempt, StartError> {
        self.step(format!("starting {}", self.name()));
        let begun = Instant::now();
        let mut attempt = machine::launch(&self.keeper, &self.stored, prepared, start).await?;
        fault::point("start-launched");
        {
            let mut facts = self.facts.borrow_mut();
            facts.vmm_pid = attempt.vmm.host_pid;
            facts.fs_pid = attempt.files.host_pid;
        }
        self.timed("start file server and VMM", begun.elapsed());
        let (step, limit) = match start {
            Start::Cold(_) => ("booting", prepared.boot_deadline),
            Start::Warm(_) => ("waking", prepared.restore_deadline),
        };
        self.step(format!("{step} {}", self.name()));
        let deadline = tokio::time::Instant::now() + limit;
        let launched = Instant::now();
        let ports = self.open_ports();
        let up = async {
            self.restore(&mut attempt, prepared, deadline).await?;
            self.greet(&mut attempt, deadline, launched).await
        };
        let (greeted, warnings) = tokio::join!(up, ports);
        self.warnings.extend(warnings);
        match greeted {
            Ok(()) => Ok(attempt),
            Err(error) => {
                attempt.kill().await;
                Err(error)
            }
        }
    }

    /// Opens the VM's port forwards, beside its boot: their ports are taken early, and free ones found wanting late
    /// would be of no use. Returns what the user should know.
    fn open_ports(&self) -> impl Future<Output = Vec<String>> + use<> {
        let (keeper, name) = (self.keeper.clone(), self.name().clone());
        let address = self.spec().network.as_ref().map(|network| network.address.address);
        async move {
            let Some(address) = address else { return Vec::new() };
            let mut warnings = keeper.ports.open(&name, address).await;
            fault::point("start-proxied");
            if let Err(error) = keeper.network.forward().await {
                warnings.push(error.to_string());
            }
            fault::point("start-forwarded");
            warnings
        }
    }

    pub(super) async fn close_ports(&self) {
        if self.keeper.ports.close(self.name()).await
            && let Err(error) = self.keeper.network.forward().await
        {
            tracing::warn!("{error}");
        }
    }

    /// Makes a machine from its template go on; others go on by themselves.
    async fn restore(
        &mut self,
        attempt: &mut Attempt,
        prepared: &Prepared,
        deadline: tokio::time::Instant,
    ) -> Result<(), StartError> {
        let Some(restoring) = attempt.restoring.take() else { return Ok(()) };
        let mut steps = Vec::new();
        let work = async {
            let restored = restoring.resume(&mut steps).await?;
            let begun = Instant::now();
            let plugged = restored.plug(&*prepared.qemu, &attempt.machine).await;
            steps.push(("plugging in", begun.elapsed()));
            plugged
        };
        let restored = self.or_stop(tokio::time::timeout_at(deadline, work)).await?;
        for (step, took) in steps {
            self.timed(&format!("restore: {step}"), took);
        }
        let problem = match restored {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error @ (Error::Damaged(_) | Error::Io { .. }))) => {
                return Err(StartError::Template(error.to_string()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the template was not restored in time".to_owned(),
        };
        // A VMM that refuses the template ends, and says why.
        let ended = tokio::time::timeout(Duration::from_millis(500), attempt.vmm.wait()).await;
        Err(StartError::Guest(match ended {
            Ok(ended) => format!("{}; {problem}", self.ended_early(&ended)),
            Err(_) => problem,
        }))
    }
}
