//! The keeper's side of the realm's network: a thread that is in it (see [`crate::net`]).
//!
//! The thread starts with the first VM that has a network. In a user realm it makes a network namespace and stays
//! there, while the rest of the keeper stays in the host's: a namespace belongs to a thread, and everything the thread
//! starts is born into it ([`thread`]).

mod thread;

use super::names::Names;
use super::ports::Forwarded;
use super::trouble::Trouble;
use crate::net::counters::Denied;
use crate::net::{NetworkPlan, uplink};
use crate::realm::{Realm, RealmKind};
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::latest::Network as NetworkSpec;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use thread::{Request, Tap, Thread};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

/// The port of a VM, while it is made.
#[derive(Debug)]
pub struct Port {
    tap: oneshot::Receiver<Result<OwnedFd>>,
    attached: oneshot::Receiver<Result<()>>,
}

impl Port {
    /// Its tap, which goes when the descriptor is closed; once. It is there as soon as the realm's namespace is, and
    /// connected to nothing yet.
    pub async fn tap(&mut self) -> Result<OwnedFd> {
        (&mut self.tap).await.map_err(|_| thread_gone())?
    }

    /// Returns when the tap is connected to the realm's network; once. Giving up waiting loses nothing.
    pub async fn attached(&mut self) -> Result<()> {
        (&mut self.attached).await.map_err(|_| thread_gone())?
    }
}

/// The network, for the keeper's tasks.
pub struct Network {
    realm: Realm,
    plan: NetworkPlan,
    pin: PathBuf,
    forwarded: Forwarded,
    thread: RefCell<Option<mpsc::UnboundedSender<Request>>>,
    trouble: Trouble,
}

impl Network {
    /// The network of `realm`, of which nothing exists yet. `forwarded` says what is to be forwarded by rules.
    pub fn new(realm: &Realm, forwarded: Forwarded) -> Self {
        Self {
            realm: realm.clone(),
            plan: NetworkPlan::of(realm),
            pin: uplink::namespace_file(&realm.run_dir),
            forwarded,
            thread: RefCell::default(),
            trouble: Trouble::default(),
        }
    }

    /// Where the network's namespace is pinned, in a user realm, once it exists.
    pub fn namespace(&self) -> Option<PathBuf> {
        (self.realm.kind == RealmKind::User).then(|| self.pin.clone())
    }

    /// Name servers for a guest: the bridge's, or, where there is none, whom else it may ask.
    pub fn dns(&self, network: &NetworkSpec) -> Vec<Ipv4Addr> {
        if Names::available() { vec![network.gateway] } else { self.plan.dns() }
    }

    /// Largest packet of guests, in bytes.
    pub fn mtu(&self) -> u32 {
        self.plan.mtu
    }

    /// What is wrong with it at present.
    pub fn warnings(&self) -> Vec<String> {
        self.trouble.get()
    }

    /// Has the port of a VM made. The work goes on whether that is awaited or not, and [`Self::detach`] undoes it.
    pub fn attach(&self, name: &VmName, network: &NetworkSpec) -> Result<Port> {
        let (give, tap) = oneshot::channel();
        let attached = self.port(name, network, Tap::Made, Some(give))?;
        Ok(Port { tap, attached })
    }

    /// Makes a tap that is there the port of its VM.
    pub async fn adopt(&self, name: &VmName, network: &NetworkSpec) -> Result<()> {
        self.port(name, network, Tap::Adopted, None)?.await.map_err(|_| thread_gone())?
    }

    fn port(
        &self,
        name: &VmName,
        network: &NetworkSpec,
        tap: Tap,
        give: Option<oneshot::Sender<Result<OwnedFd>>>,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let topology = self.realm.config.topology()?;
        topology.fits(name, network)?;
        let (reply, attached) = oneshot::channel();
        let (name, network) = (name.clone(), Box::new(network.clone()));
        self.send(Request::Attach { name, network, tap, give, reply })?;
        Ok(attached)
    }

    /// Removes what is left of the port of a VM that has ended.
    pub fn detach(&self, name: &VmName) {
        // Without a thread there is no network, and no port.
        let _ = self.tell(Request::Detach { name: name.clone() });
    }

    /// What was refused to VM `name`; none if it is not on the network, or nobody counts.
    pub async fn denied(&self, name: &VmName) -> Option<Denied> {
        let (reply, denied) = oneshot::channel();
        self.tell(Request::Denied { name: name.clone(), reply })?;
        match denied.await {
            Ok(Ok(denied)) => Some(denied),
            Ok(Err(error)) => {
                tracing::debug!("{error}");
                None
            }
            Err(_) => None,
        }
    }

    /// Brings the forwards that go by rules to what is stored of the VMs that run.
    pub async fn forward(&self) -> Result<()> {
        let (reply, done) = oneshot::channel();
        match self.tell(Request::Forward { reply }) {
            Some(()) => done.await.map_err(|_| thread_gone())?,
            None => Ok(()),
        }
    }

    /// Takes everything down.
    pub async fn end(&self) {
        let (reply, ended) = oneshot::channel();
        if self.tell(Request::End { reply }).is_some() {
            let _ = ended.await;
        }
        self.thread.borrow_mut().take();
    }

    /// Sends to the thread if there is one.
    fn tell(&self, request: Request) -> Option<()> {
        self.thread.borrow().as_ref()?.send(request).ok()
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
        let thread = Thread {
            topology: self.realm.config.topology()?,
            plan: self.plan.clone(),
            pin: self.pin.clone(),
            names_dir: self.realm.run_dir.join("dns"),
            forwarded: self.forwarded.clone(),
            trouble: self.trouble.clone(),
            host: Handle::current(),
        };
        std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || thread.run(requests))
            .map_err(Error::system("start the network thread"))?;
        Ok(sender)
    }
}

fn thread_gone() -> Error {
    Error::Failed("the keeper's network thread has ended; stop all VMs and start them again".to_owned())
}
