//! The life of one VM: a task that starts its processes, configures the guest, waits, and takes everything down.

use super::child::Child;
use super::machine::{self, Attempt, Start};
use super::mux::GuestStream;
use super::prepare::{self, Prepared};
use super::protocol::{Phase, RunningVm, Timing};
use super::server::Keeper;
use super::warm::{self, Source};
use crate::boot::accel::Accelerator;
use crate::client::write_frame;
use crate::store::StoredVm;
use crate::vmm::{Origin, Platform};
use crate::{Error, Result, fault};
use mvm_spec::control::{StreamKind, ToGuest, ToHost};
use mvm_spec::{VmName, VmSpec};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};
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
}

/// A VM's task, for the rest of the keeper.
#[derive(Clone)]
pub struct Handle {
    name: VmName,
    progress: watch::Receiver<Progress>,
    commands: mpsc::Sender<Command>,
    facts: Rc<RefCell<Facts>>,
}

/// What `list` shows.
#[derive(Default)]
struct Facts {
    started_at: u64,
    vmm_pid: Option<i32>,
    fs_pid: Option<i32>,
    accel: String,
    warm: bool,
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

    /// A stream to its SSH server.
    pub async fn ssh(&self) -> Result<GuestStream> {
        let refused = || Error::Failed(format!("VM `{}` is not up; `mvm status {0}` says more", self.name));
        let (reply, stream) = oneshot::channel();
        self.commands.send(Command::Ssh { reply }).await.map_err(|_| refused())?;
        stream.await.map_err(|_| refused())?
    }
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
    let life = Life { keeper, stored, cold, report, inbox, facts, timings, warnings, notes };
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
}

/// Why a start came to nothing.
enum StartError {
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

    async fn start(&mut self) -> Result<Attempt, StartError> {
        let begun = Instant::now();
        let paths = self.keeper.store.paths(self.name());
        super::console::rotate(&paths.console_log());
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

    async fn close_ports(&self) {
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
        let work = restoring.finish(&*prepared.qemu, &attempt.machine, attempt.tap.take());
        let problem = match self.or_stop(tokio::time::timeout_at(deadline, work)).await? {
            Ok(Ok(steps)) => {
                for (step, took) in steps {
                    self.timed(&format!("restore: {step}"), took);
                }
                return Ok(());
            }
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

    /// Waits for the guest's messages until it is ready.
    async fn greet(
        &mut self,
        attempt: &mut Attempt,
        deadline: tokio::time::Instant,
        launched: Instant,
    ) -> Result<(), StartError> {
        let (mut awaited, greeting) = ("start its init", Instant::now());
        loop {
            let message = tokio::select! {
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
                Some(ToHost::Ready) => {
                    return Ok(());
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

    fn ended_early(&self, ended: &str) -> String {
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

    /// The VM runs: serves commands until it ends.
    async fn run(&mut self, mut attempt: Attempt) -> End {
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
                },
            }
        }
    }
}

/// Asks the guest to power off; whether it did within `timeout`.
async fn shut_down(attempt: &mut Attempt, timeout: Duration) -> bool {
    let asked = write_frame(&mut attempt.control.writer, &ToGuest::PowerOff).await;
    asked.is_ok() && tokio::time::timeout(timeout, attempt.vmm.wait()).await.is_ok()
}

impl Attempt {
    /// Ends both processes.
    async fn kill(&mut self) {
        self.vmm.kill().await;
        // It ends by itself when the VMM has gone; killing it only saves the wait, all writes being done.
        Child::kill(&mut self.files).await;
    }
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
