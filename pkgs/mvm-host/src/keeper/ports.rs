//! The proxy of the realm's port forwards: a process that starts with the first VM that has a network, and is started
//! again if it ends. What it serves is what the store says, of the VMs that run.

use super::child::{Child, Launch};
use super::retry::Retry;
use super::trouble::Trouble;
use crate::net::ruleset::NatForward;
use crate::ports::by_rules;
use crate::ports::proxy::protocol::Refusal;
use crate::ports::proxy::{Client, ProxyConfig};
use crate::realm::{Realm, RealmKind};
use crate::store::{ForwardsLock, Store};
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::forward::Forward;
use nix::unistd::Uid;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the proxy may take to start, on a host busy with emulation.
const DEADLINE: Duration = Duration::from_secs(30);
/// First pause before a proxy that ended is started again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
const RETRY_LONGEST: Duration = Duration::from_secs(10);
/// `nobody`, as every Linux system numbers it.
const NOBODY: u32 = 65534;
/// What the proxy writes when it answers.
const READY: &str = "ready";

/// The VMs that run, with their addresses, and what is stored of their forwards.
#[derive(Clone, Debug)]
pub struct Forwarded {
    kind: RealmKind,
    store: Store,
    up: Arc<Mutex<BTreeMap<VmName, Ipv4Addr>>>,
}

impl Forwarded {
    /// Nothing runs yet.
    pub fn new(realm: &Realm) -> Self {
        Self { kind: realm.kind, store: Store::open(&realm.state_dir), up: Arc::default() }
    }

    /// The forwards that go by rules as well as by the proxy, and the lock under which they stay so; none in a user
    /// realm, where all go by the proxy alone.
    pub fn by_rules(&self) -> Result<Option<(ForwardsLock, Vec<NatForward>)>> {
        if self.kind == RealmKind::User {
            return Ok(None);
        }
        let lock = self.store.lock_forwards()?;
        let up = self.up().clone();
        let mut all = Vec::new();
        for (name, to) in up {
            all.extend(by_rules(self.kind, to, &self.stored(&name)?));
        }
        Ok(Some((lock, all)))
    }

    fn stored(&self, name: &VmName) -> Result<Vec<Forward>> {
        match self.store.forwards(name) {
            // A VM of one command may be gone by now.
            Err(Error::NoSuchVm(_)) => Ok(Vec::new()),
            forwards => Ok(forwards?.into_iter().map(|stored| stored.forward).collect()),
        }
    }

    fn up(&self) -> MutexGuard<'_, BTreeMap<VmName, Ipv4Addr>> {
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The proxy, for the keeper's tasks.
pub struct Ports {
    realm: Realm,
    forwarded: Forwarded,
    /// Bind mount of the realm's network namespace; none where it is the host's.
    namespace: Option<PathBuf>,
    state: watch::Sender<State>,
    task: RefCell<Option<JoinHandle<()>>>,
    trouble: Trouble,
}

/// How far the process is.
#[derive(Clone, Debug)]
enum State {
    Starting,
    Ready,
    Failed(String),
}

impl Ports {
    /// The proxy of `realm`, which does not run yet. `namespace` is where the network thread pins its namespace.
    pub fn new(realm: &Realm, forwarded: Forwarded, namespace: Option<PathBuf>) -> Self {
        Self {
            realm: realm.clone(),
            forwarded,
            namespace,
            state: watch::channel(State::Starting).0,
            task: RefCell::default(),
            trouble: Trouble::default(),
        }
    }

    /// Serves the stored forwards of VM `name`, which runs at `address`; the realm's network must be there. Returns what
    /// the user should know about those that can't be served now; the proxy tries them again by itself.
    pub async fn open(self: &Rc<Self>, name: &VmName, address: Ipv4Addr) -> Vec<String> {
        self.forwarded.up().insert(name.clone(), address);
        self.task.borrow_mut().get_or_insert_with(|| tokio::task::spawn_local(self.clone().supervise()));
        let served = async {
            self.ready().await?;
            self.set(name, address).await
        };
        served
            .await
            .unwrap_or_else(|error| vec![format!("the ports of VM `{name}` are not forwarded: {error}")])
    }

    /// Ends the forwards of a VM that has ended; whether it had been opened. Under the lock: a `mvm-ports sync` that found
    /// the VM served would otherwise serve it again.
    pub async fn close(&self, name: &VmName) -> bool {
        let store = self.forwarded.store.clone();
        let lock = tokio::task::spawn_blocking(move || store.lock_forwards()).await;
        if self.forwarded.up().remove(name).is_none() {
            return false;
        }
        let closed = async {
            match Client::connect(&self.realm.ports_socket()).await? {
                Some(mut client) => client.clear(name).await.map(drop),
                None => Ok(()),
            }
        };
        if let Err(error) = closed.await {
            tracing::warn!("closing the ports of VM `{name}`: {error}");
        }
        drop(lock);
        true
    }

    /// What is wrong with the process at present.
    pub fn warnings(&self) -> Vec<String> {
        self.trouble.get()
    }

    /// Ends the process.
    pub fn end(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            // Its child goes with it.
            task.abort();
        }
        let _ = std::fs::remove_file(self.realm.ports_socket());
    }

    async fn ready(&self) -> Result<()> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Starting)).await;
        match settled.as_deref() {
            Ok(State::Ready) => Ok(()),
            Ok(State::Failed(why)) => Err(Error::Failed(why.clone())),
            Ok(State::Starting) | Err(_) => Err(Error::Failed("their proxy did not start".to_owned())),
        }
    }

    /// Makes the proxy serve what is stored. Under the lock: a forward added meanwhile is in what is read here, or its
    /// maker finds the VM served.
    async fn set(&self, name: &VmName, address: Ipv4Addr) -> Result<Vec<String>> {
        let (forwarded, owned) = (self.forwarded.clone(), name.clone());
        let read = move || -> Result<(ForwardsLock, Vec<Forward>)> {
            let lock = forwarded.store.lock_forwards()?;
            Ok((lock, forwarded.stored(&owned)?))
        };
        let read = tokio::task::spawn_blocking(read).await;
        let (lock, forwards) =
            read.map_err(|error| Error::Failed(format!("reading the forwards broke off: {error}")))??;
        let Some(mut client) = Client::connect(&self.realm.ports_socket()).await? else {
            return Err(Error::Failed("their proxy has just ended; it is being started again".to_owned()));
        };
        let blocked = client.set(name, address, forwards).await?;
        drop(lock);
        Ok(blocked.iter().map(|blocked| warning(name, blocked)).collect())
    }

    async fn supervise(self: Rc<Self>) {
        let mut retry = Retry::new(&self.trouble, "proxy", RETRY_FIRST, RETRY_LONGEST);
        loop {
            let error = self.run(&mut retry).await;
            self.state.send_replace(State::Failed(error.to_string()));
            retry.ended(&error, format!("ports are not forwarded at the moment: {error}")).await;
        }
    }

    /// Runs the process to its end; says why it ended.
    async fn run(&self, retry: &mut Retry) -> Error {
        let mut child = match self.start().await {
            Ok(child) => child,
            Err(error) => return error,
        };
        let up = self.forwarded.up().clone();
        for (name, address) in up {
            match self.set(&name, address).await {
                Ok(warnings) => warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
                Err(error) => tracing::warn!("{error}"),
            }
        }
        retry.runs();
        self.state.send_replace(State::Ready);
        let ended = child.wait().await;
        Error::Failed(ended)
    }

    /// Starts the process and returns when it answers.
    async fn start(&self) -> Result<Child> {
        // In a user realm it is the user's already.
        let run_as = (self.realm.kind == RealmKind::Host).then_some((NOBODY, NOBODY));
        let config = ProxyConfig {
            socket: self.realm.ports_socket(),
            guest_namespace: self.namespace.clone(),
            resolv_conf: self.namespace.is_some().then(|| PathBuf::from("/etc/resolv.conf")),
            run_as,
            die_with_parent: false,
        };
        let config = serde_json::to_string(&config)
            .map_err(|error| Error::Failed(format!("can't write the proxy's configuration: {error}")))?;
        let log_path = self.realm.keeper_log();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log_path)
            .map_err(Error::io("open", &log_path))?;
        let (output, stdout) = std::io::pipe().map_err(Error::system("make a pipe"))?;
        let mut child = Child::spawn(Launch {
            what: "proxy of the port forwards",
            arguments: ["proxy", &config],
            fds: Vec::new(),
            user: run_as.map_or_else(Uid::effective, |(uid, _)| Uid::from_raw(uid)),
            stdout: Stdio::from(OwnedFd::from(stdout)),
            stderr: log,
        })?;
        let output = tokio::net::unix::pipe::Receiver::from_owned_fd(output.into())
            .map_err(Error::system("hear the proxy"))?;
        let (mut output, mut line) = (BufReader::new(output), String::new());
        let ready = tokio::time::timeout(DEADLINE, output.read_line(&mut line)).await;
        if matches!(ready, Ok(Ok(_))) && line.trim_end() == READY {
            return Ok(child);
        }
        child.kill().await;
        Err(Error::Failed(format!(
            "the proxy of the port forwards did not start; {} says why",
            log_path.display()
        )))
    }
}

fn warning(name: &VmName, blocked: &Refusal) -> String {
    format!("{blocked}; VM `{name}` runs without it, and gets it as soon as that changes")
}
