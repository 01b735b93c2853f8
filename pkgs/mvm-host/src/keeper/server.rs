//! The keeper's socket: requests in, events out.

use super::network::Network;
use super::ports::{Forwarded, Ports};
use super::protocol::{Event, Request, RunningVm};
use super::vm::{self, End, Handle, Progress};
use super::{announce, namespaces};
use crate::client::{read_frame, write_frame};
use crate::realm::Realm;
use crate::sandbox::scope;
use crate::store::Store;
use crate::{Error, Result};
use mvm_spec::VmName;
use nix::fcntl::Flock;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;

/// How long a client may take to send its request.
pub(super) const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How long a keeper without VMs waits for its first client.
const FIRST_CLIENT: Duration = Duration::from_secs(10);
/// How long guests may take to end when the keeper is asked to end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Age at which a VM of one command that nobody holds is a leftover of a crash.
const STALE_EPHEMERAL: Duration = Duration::from_secs(300);

/// How a client wants a VM to be started.
#[derive(Clone, Copy)]
struct How {
    /// For as long as the client is connected.
    lease: bool,
    /// By booting it.
    cold: bool,
}

/// What all tasks of the keeper share.
pub struct Keeper {
    /// The realm.
    pub realm: Realm,
    /// Its files.
    pub store: Store,
    /// Its network.
    pub network: Network,
    /// The proxy of its port forwards.
    pub ports: Rc<Ports>,
    /// Held while a template is made.
    pub templates: tokio::sync::Mutex<()>,
    vms: RefCell<BTreeMap<VmName, Handle>>,
    clients: Cell<usize>,
    /// A VM or client has gone.
    changed: Notify,
    host_pid: i32,
}

/// Serves until the last VM has ended. The lock is held to the very end.
pub fn run(realm: Realm, host_pid: i32, lock: Flock<File>) -> Result<()> {
    // To stderr, which is the keeper's log.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("start the keeper's runtime"))?;
    let result = LocalSet::new().block_on(&runtime, serve(realm, host_pid));
    // A thread that still reads a kernel image must not delay the end.
    runtime.shutdown_background();
    drop(lock);
    result
}

async fn serve(realm: Realm, host_pid: i32) -> Result<()> {
    let store = Store::open(&realm.state_dir);
    store.sweep()?;
    store.sweep_ephemeral(STALE_EPHEMERAL)?;
    let socket = realm.socket();
    let listener = bind(&realm)?;
    let forwarded = Forwarded::new(&realm);
    let network = Network::new(&realm, forwarded.clone());
    let ports = Rc::new(Ports::new(&realm, forwarded, network.namespace()));
    let keeper = Rc::new(Keeper {
        realm,
        store,
        network,
        ports,
        templates: tokio::sync::Mutex::default(),
        vms: RefCell::default(),
        clients: Cell::new(0),
        changed: Notify::new(),
        host_pid,
    });
    announce()?;
    tokio::task::spawn_local(become_unit(keeper.clone()));
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::system("handle SIGTERM"))?;
    let mut idle_limit = FIRST_CLIENT;
    loop {
        let idle = keeper.vms.borrow().is_empty() && keeper.clients.get() == 0;
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.map_err(Error::system("accept a client"))?;
                idle_limit = Duration::ZERO;
                keeper.clients.set(keeper.clients.get() + 1);
                let keeper = keeper.clone();
                tokio::task::spawn_local(async move {
                    // A client that leaves in the middle harms nobody else.
                    let _ = keeper.clone().converse(stream).await;
                    keeper.clients.set(keeper.clients.get() - 1);
                    keeper.changed.notify_one();
                });
            }
            () = keeper.changed.notified() => {}
            () = tokio::time::sleep(idle_limit), if idle => break,
            _ = terminate.recv() => {
                keeper.end_all().await;
                break;
            }
        }
    }
    // From here on new clients find no keeper; one that has connected already sees its connection close, and tries again.
    let _ = std::fs::remove_file(socket);
    keeper.ports.end();
    keeper.network.end().await;
    Ok(())
}

/// Where systemd runs, the keeper leaves the unit of whoever started it, which may end before the VMs do.
async fn become_unit(keeper: Rc<Keeper>) {
    let Some(manager) = scope::Manager::of(keeper.realm.kind) else { return };
    let init = namespaces::host_pid_of_init(keeper.host_pid);
    let pids: Vec<i32> = init.into_iter().chain([keeper.host_pid]).collect();
    let id = keeper.realm.run_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let unit = scope::Unit {
        name: format!("mvm-keeper-{id}.scope"),
        description: "keeper of microVMs".to_owned(),
        limits: None,
    };
    if let Err(error) = scope::enter(manager, &unit, &pids).await {
        tracing::warn!("the keeper stays in the unit that started it: {error}");
    }
}

/// Binds under a temporary name, so that the socket's name always leads to a listening one.
pub(super) fn bind(realm: &Realm) -> Result<UnixListener> {
    let (socket, new) = (realm.socket(), realm.run_dir.join("keeper.sock.new"));
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new).map_err(Error::io("listen at", &new))?;
    std::fs::rename(&new, &socket).map_err(Error::io("listen at", &socket))?;
    Ok(listener)
}

impl Keeper {
    async fn converse(self: Rc<Self>, mut stream: UnixStream) -> std::io::Result<()> {
        let request = tokio::time::timeout(REQUEST_DEADLINE, read_frame(&mut stream)).await??;
        match request {
            None => Ok(()),
            Some(Request::Status) => write_frame(&mut stream, &self.status()).await,
            Some(Request::Start { name, lease, cold }) => {
                let how = How { lease, cold };
                self.start(stream, &name, how).await
            }
            Some(Request::Stop { name, force, timeout_ms }) => {
                let step = Event::Step { text: format!("stopping {name}") };
                write_frame(&mut stream, &step).await?;
                let stopped = self.stop(&name, force, Duration::from_millis(timeout_ms)).await;
                write_frame(&mut stream, &stopped).await
            }
            Some(Request::Denied { name }) => {
                let denied = self.network.denied(&name).await;
                write_frame(&mut stream, &Event::Denied { denied }).await
            }
            Some(Request::Processes { name }) => {
                let processes = self.handle(&name).map(|handle| handle.processes()).unwrap_or_default();
                write_frame(&mut stream, &Event::Processes { processes }).await
            }
            Some(Request::ApplyWorkload { name }) => {
                let event = match self.handle(&name) {
                    Some(handle) => handle.apply_workload().await,
                    None => Ok(false),
                };
                let event = event.map_or_else(|error| failed(&error), |running| Event::Applied { running });
                write_frame(&mut stream, &event).await
            }
            Some(Request::Attach { name } | Request::Detach { name }) => {
                let error = Error::Failed(format!(
                    "VM `{name}` can't be attached here: this keeper runs VMs of `mvm create`, not declared ones; stop \
                     all VMs of the realm, then start `microvm-dev-network.service`"
                ));
                write_frame(&mut stream, &failed(&error)).await
            }
            Some(Request::Ssh { name }) => self.ssh(stream, &name).await,
        }
    }

    fn status(&self) -> Event {
        let vms = self.vms.borrow().values().map(Handle::running).collect::<Vec<RunningVm>>();
        Event::Status { keeper_pid: self.host_pid, vms }
    }

    fn handle(&self, name: &VmName) -> Option<Handle> {
        self.vms.borrow().get(name).cloned()
    }

    /// The VM's task, started if there is none; and whether there was one.
    fn find_or_start(self: &Rc<Self>, name: &VmName, cold: bool) -> Result<(Handle, bool)> {
        if let Some(handle) = self.handle(name) {
            return Ok((handle, true));
        }
        let stored = self.store.get(name)?;
        let (handle, task) = vm::prepare(self.clone(), stored, cold);
        self.vms.borrow_mut().insert(name.clone(), handle.clone());
        let (keeper, name) = (self.clone(), name.clone());
        tokio::task::spawn_local(async move {
            task.await;
            keeper.vms.borrow_mut().remove(&name);
            keeper.changed.notify_one();
        });
        Ok((handle, false))
    }

    async fn start(
        self: Rc<Self>,
        mut stream: UnixStream,
        name: &VmName,
        How { lease, cold }: How,
    ) -> std::io::Result<()> {
        let (handle, already) = loop {
            match self.find_or_start(name, cold) {
                // One that is ending is waited for, and started again.
                Ok((handle, true)) if handle.is_ending() => handle.ended().await,
                Ok(found) => break found,
                Err(error) => return write_frame(&mut stream, &failed(&error)).await,
            }
        };
        let last = loop {
            let mut progress = handle.progress();
            let event = match progress.borrow_and_update().clone() {
                Progress::Starting { step } => Event::Step { text: step },
                Progress::Running { timings, warnings, notes } => {
                    for text in warnings {
                        write_frame(&mut stream, &Event::Warning { text }).await?;
                    }
                    break Event::Started { already, timings, notes };
                }
                Progress::Stopping => Event::Step { text: format!("{name} is stopping") },
                Progress::Ended(End::Failed { message, console }) => {
                    break Event::Failed { message, console };
                }
                Progress::Ended(End::Stopped { .. }) => {
                    break Event::Failed {
                        message: format!("VM `{name}` was stopped while it started"),
                        console: vec![],
                    };
                }
            };
            write_frame(&mut stream, &event).await?;
            let mut byte = [0; 1];
            tokio::select! {
                // Without a sender the VM has ended, which the next round sees.
                _ = progress.changed() => {}
                // The client has gone. A VM of its own goes with it.
                _ = stream.read(&mut byte), if lease => {
                    self.stop(name, true, Duration::ZERO).await;
                    return Ok(());
                }
            }
        };
        let started = matches!(last, Event::Started { .. });
        let sent = write_frame(&mut stream, &last).await;
        if lease && started {
            let mut byte = [0; 1];
            tokio::select! {
                () = handle.ended() => {}
                // Nothing is ever sent here: this ends when the client does.
                _ = stream.read(&mut byte) => { self.stop(name, true, Duration::ZERO).await; }
            }
        }
        sent
    }

    async fn stop(&self, name: &VmName, force: bool, timeout: Duration) -> Event {
        let Some(handle) = self.handle(name) else { return Event::Stopped { already: true, killed: false } };
        match handle.stop(force, timeout).await {
            End::Stopped { killed } => Event::Stopped { already: false, killed },
            End::Failed { .. } => Event::Stopped { already: false, killed: true },
        }
    }

    async fn ssh(&self, mut stream: UnixStream, name: &VmName) -> std::io::Result<()> {
        let opened = match self.handle(name) {
            Some(handle) => handle.ssh().await,
            None => Err(Error::Failed(format!("VM `{name}` does not run; `mvm start {name}` starts it"))),
        };
        match opened {
            Err(error) => write_frame(&mut stream, &failed(&error)).await,
            Ok(mut guest) => {
                write_frame(&mut stream, &Event::Connected).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut guest).await.map(|_| ())
            }
        }
    }

    async fn end_all(&self) {
        let handles: Vec<Handle> = self.vms.borrow().values().cloned().collect();
        futures::future::join_all(handles.iter().map(|handle| handle.stop(false, FAREWELL))).await;
    }
}

pub(super) fn failed(error: &Error) -> Event {
    Event::Failed { message: error.to_string(), console: Vec::new() }
}
