//! The keeper's side of the realm's network: a thread that is in it (see [`crate::net`]).
//!
//! The thread starts with the first VM that has a network. In a user realm it makes a network namespace and stays
//! there, while the rest of the keeper stays in the host's: a namespace belongs to a thread, and everything the thread
//! starts is born into it.

use crate::net::{self, NetworkPlan, ruleset::Port, uplink};
use crate::realm::{Realm, RealmKind};
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::latest::Network as NetworkSpec;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// First pause before an uplink that broke off is attached again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause.
const RETRY_LONGEST: Duration = Duration::from_secs(60);

enum Request {
    Attach { port: Port, reply: oneshot::Sender<Result<OwnedFd>> },
    Detach { tap: String },
    End { reply: oneshot::Sender<()> },
}

/// The network, for the keeper's tasks.
pub struct Network {
    plan: NetworkPlan,
    pin: PathBuf,
    thread: RefCell<Option<mpsc::UnboundedSender<Request>>>,
    trouble: Trouble,
}

/// What users of VMs should know about the network, as it is now.
#[derive(Clone, Default)]
struct Trouble(Arc<Mutex<Vec<String>>>);

impl Trouble {
    fn set(&self, warnings: Vec<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = warnings;
    }
    fn get(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Network {
    /// The network of `realm`, of which nothing exists yet.
    pub fn new(realm: &Realm) -> Self {
        Self {
            plan: NetworkPlan::of(realm),
            pin: uplink::namespace_file(&realm.run_dir),
            thread: RefCell::default(),
            trouble: Trouble::default(),
        }
    }

    /// Name servers for guests.
    pub fn dns(&self) -> Vec<Ipv4Addr> {
        self.plan.dns()
    }

    /// Largest packet of guests, in bytes.
    pub fn mtu(&self) -> u32 {
        self.plan.bridge.mtu
    }

    /// What is wrong with it at present.
    pub fn warnings(&self) -> Vec<String> {
        self.trouble.get()
    }

    /// Makes the port of a VM and returns its tap, which goes when the descriptor is closed.
    pub async fn attach(&self, name: &VmName, network: &NetworkSpec) -> Result<OwnedFd> {
        if network.bridge != self.plan.bridge.name || network.gateway != self.plan.bridge.address.address {
            return Err(Error::Failed(format!(
                "VM `{name}` was made for the bridge {} with {}, but this realm has {} with {}; make the VM anew, or \
                 set `bridge` and `subnet` in config.toml as they were",
                network.bridge, network.gateway, self.plan.bridge.name, self.plan.bridge.address
            )));
        }
        let port = Port { tap: name.tap(), mac: network.mac, address: network.address.address };
        let (reply, attached) = oneshot::channel();
        self.send(Request::Attach { port, reply })?;
        attached.await.map_err(|_| thread_gone())?
    }

    /// Removes what is left of the port of a VM that has ended.
    pub fn detach(&self, name: &VmName) {
        if let Some(thread) = self.thread.borrow().as_ref() {
            // Without a thread there is no network, and no port.
            let _ = thread.send(Request::Detach { tap: name.tap() });
        }
    }

    /// Takes everything down.
    pub async fn end(&self) {
        let Some(thread) = self.thread.borrow_mut().take() else { return };
        let (reply, ended) = oneshot::channel();
        if thread.send(Request::End { reply }).is_ok() {
            let _ = ended.await;
        }
    }

    fn send(&self, request: Request) -> Result<()> {
        let mut thread = self.thread.borrow_mut();
        let sender = match thread.as_ref().filter(|thread| !thread.is_closed()) {
            Some(sender) => sender.clone(),
            None => thread.insert(self.start_thread()?).clone(),
        };
        sender.send(request).map_err(|_| thread_gone())
    }

    fn start_thread(&self) -> Result<mpsc::UnboundedSender<Request>> {
        let (sender, requests) = mpsc::unbounded_channel();
        let (plan, pin, trouble, host) =
            (self.plan.clone(), self.pin.clone(), self.trouble.clone(), Handle::current());
        std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || thread(plan, pin, trouble, host, requests))
            .map_err(Error::system("start the network thread"))?;
        Ok(sender)
    }
}

fn thread_gone() -> Error {
    Error::Failed("the keeper's network thread has ended; stop all VMs and start them again".to_owned())
}

/// The thread. What fails before the first request is its answer.
fn thread(
    plan: NetworkPlan,
    pin: PathBuf,
    trouble: Trouble,
    host: Handle,
    mut requests: mpsc::UnboundedReceiver<Request>,
) {
    let enter = || -> Result<tokio::runtime::Runtime> {
        if plan.kind == RealmKind::User {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .map_err(Error::system("make the realm's network namespace"))?;
            uplink::pin_namespace(&pin)?;
        }
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::system("start the network thread's runtime"))
    };
    match enter() {
        Ok(runtime) => {
            LocalSet::new().block_on(&runtime, serve(plan, pin, trouble, host, requests));
            runtime.shutdown_background();
        }
        Err(error) => {
            if let Some(Request::Attach { reply, .. }) = requests.blocking_recv() {
                let _ = reply.send(Err(error));
            }
        }
    }
}

async fn serve(
    plan: NetworkPlan,
    pin: PathBuf,
    trouble: Trouble,
    host: Handle,
    mut requests: mpsc::UnboundedReceiver<Request>,
) {
    let (network, warnings) = match net::Network::set_up(plan).await {
        Ok(network) => network,
        Err(error) => {
            if let Some(Request::Attach { reply, .. }) = requests.recv().await {
                let _ = reply.send(Err(error));
            }
            return;
        }
    };
    trouble.set(warnings.clone());
    if let Some(plan) = network.uplink_plan(pin.clone()) {
        tokio::task::spawn_local(keep_uplink(host, plan, trouble, warnings));
    }
    while let Some(request) = requests.recv().await {
        match request {
            Request::Attach { port, reply } => {
                let file = network.add_port(&port, None).await;
                // Who asked may be gone: the tap goes with its file.
                let _ = reply.send(file);
            }
            Request::Detach { tap } => {
                if let Err(error) = network.remove_port(&tap).await {
                    tracing::warn!("{error}");
                }
            }
            Request::End { reply } => {
                if let Err(error) = network.tear_down().await {
                    tracing::warn!("{error}");
                }
                if let Err(error) = uplink::unpin_namespace(&pin) {
                    tracing::warn!("{error}");
                }
                let _ = reply.send(());
                return;
            }
        }
    }
}

/// Attaches the uplink, and again when it breaks off; VMs run on meanwhile.
async fn keep_uplink(host: Handle, plan: uplink::UplinkPlan, trouble: Trouble, warnings: Vec<String>) {
    let mut pause = RETRY_FIRST;
    loop {
        let error = match uplink::attach(&host, &plan).await {
            Ok(mut uplink) => {
                trouble.set(warnings.clone());
                pause = RETRY_FIRST;
                uplink.run().await
            }
            Err(error) => error,
        };
        tracing::warn!("{error}");
        let mut now = warnings.clone();
        now.push(error.to_string());
        trouble.set(now);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}
