//! The keeper's side of the realm's network: a thread that is in it (see [`crate::net`]).
//!
//! The thread starts with the first VM that has a network. In a user realm it makes a network namespace and stays
//! there, while the rest of the keeper stays in the host's: a namespace belongs to a thread, and everything the thread
//! starts is born into it.

use super::names::Names;
use super::ports::Forwarded;
use super::retry::Retry;
use super::trouble::Trouble;
use crate::net::counters::Denied;
use crate::net::dnsmasq::VmHost;
use crate::net::ruleset::Guest;
use crate::net::topology::Topology;
use crate::net::{self, NetworkPlan, tap, uplink, watch};
use crate::realm::{Realm, RealmKind};
use crate::{Error, Result, fault};
use mvm_spec::VmName;
use mvm_spec::latest::Network as NetworkSpec;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// First pause before an uplink that broke off is attached again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause.
const RETRY_LONGEST: Duration = Duration::from_secs(60);

enum Request {
    Attach {
        name: VmName,
        network: Box<NetworkSpec>,
        tap: Tap,
        /// Who waits for the tap if it is to be made; nobody afterwards.
        give: Option<oneshot::Sender<Result<OwnedFd>>>,
        reply: oneshot::Sender<Result<()>>,
    },
    Detach {
        name: VmName,
    },
    Denied {
        name: VmName,
        reply: oneshot::Sender<Result<Denied>>,
    },
    Forward {
        reply: oneshot::Sender<Result<()>>,
    },
    End {
        reply: oneshot::Sender<()>,
    },
}

/// Whose a VM's tap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tap {
    /// Ours: it is made first of all, and goes with its file.
    Made,
    /// Somebody else has made it, and keeps it.
    Adopted,
}

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

/// What the thread works with.
struct Thread {
    topology: Box<dyn Topology>,
    plan: NetworkPlan,
    pin: PathBuf,
    names_dir: PathBuf,
    forwarded: Forwarded,
    trouble: Trouble,
    /// The keeper's runtime, whose thread is in the host's network namespace.
    host: Handle,
}

impl Thread {
    /// The thread. What fails before the first request is its answer.
    fn run(self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let enter = || -> Result<tokio::runtime::Runtime> {
            if self.plan.kind == RealmKind::User {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                    .map_err(Error::system("make the realm's network namespace"))?;
                uplink::pin_namespace(&self.pin)?;
            }
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::system("start the network thread's runtime"))
        };
        match enter() {
            Ok(runtime) => {
                LocalSet::new().block_on(&runtime, self.serve(requests));
                runtime.shutdown_background();
            }
            Err(error) => refuse(requests.blocking_recv(), error),
        }
    }

    async fn serve(self, requests: mpsc::UnboundedReceiver<Request>) {
        let (rest, mut work) = mpsc::unbounded_channel();
        tokio::task::spawn_local(make_taps(requests, rest));
        let network = match net::Network::set_up(self.plan.clone()).await {
            Ok((network, warnings)) => {
                self.trouble.set("rules", warnings);
                Rc::new(network)
            }
            Err(error) => return refuse(work.recv().await, error),
        };
        fault::point("start-rules");
        let names = Rc::new(Names::new(self.plan.clone(), self.names_dir.clone(), self.trouble.clone()));
        if let Some(plan) = network.uplink_plan(self.pin.clone()) {
            let (host, trouble) = (self.host.clone(), self.trouble.clone());
            tokio::task::spawn_local(keep_uplink(host, network.clone(), plan, trouble));
        }
        let (forwarded, trouble) = (self.forwarded.clone(), self.trouble.clone());
        tokio::task::spawn_local(keep_rules(network.clone(), names.clone(), forwarded, trouble));
        while let Some(request) = work.recv().await {
            match request {
                Request::Attach { name, network: spec, tap, reply, .. } => {
                    let attached = self.attach(&network, &names, name.clone(), &spec, tap).await;
                    if attached.is_err() {
                        names.remove(&name);
                    }
                    // Who asked may be gone: the tap goes with its file.
                    let _ = reply.send(attached);
                }
                Request::Detach { name } => {
                    names.remove(&name);
                    if let Err(error) = network.remove_guest(&name).await {
                        tracing::warn!("{error}");
                    }
                }
                Request::Denied { name, reply } => {
                    let network = network.clone();
                    tokio::task::spawn_local(async move {
                        let _ = reply.send(network.denied(&name).await);
                    });
                }
                Request::Forward { reply } => {
                    let _ = reply.send(bring_forwards(&network, &self.forwarded).await);
                }
                Request::End { reply } => {
                    // A realm's own namespace goes with its last process, and all that is in it.
                    if self.plan.kind == RealmKind::Host
                        && let Err(error) = network.tear_down().await
                    {
                        tracing::warn!("{error}");
                    }
                    if let Err(error) = uplink::unpin_namespace(&self.pin) {
                        tracing::warn!("{error}");
                    }
                    let _ = std::fs::remove_dir_all(&self.names_dir);
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    async fn attach(
        &self,
        network: &net::Network,
        names: &Names,
        name: VmName,
        spec: &NetworkSpec,
        tap: Tap,
    ) -> Result<()> {
        let NetworkSpec { mac, address, gateway, egress, peers, .. } = spec;
        let address = address.address;
        let bridge = self.topology.bridge(spec, self.plan.mtu);
        network.ensure_bridge(&bridge).await?;
        fault::point("start-bridged");
        let host = VmHost { name: name.clone(), mac: *mac, address };
        let resolver_port = names.add(&bridge, host, egress)?;
        fault::point("start-named");
        let guest = Guest {
            tap: name.tap(),
            mac: *mac,
            address,
            gateway: *gateway,
            bridge: bridge.name,
            peers: peers.clone(),
            egress: egress.clone(),
            resolver_port,
            name,
        };
        match tap {
            Tap::Made => network.add_guest(guest).await?,
            Tap::Adopted => network.adopt_guest(guest).await?,
        }
        fault::point("start-attached");
        Ok(())
    }
}

/// Makes the taps that are asked for, at once, whatever else the thread has to do: a VMM can't start without its tap, and
/// the rest of its port is made beside it. Passes on what is left of the requests.
async fn make_taps(mut requests: mpsc::UnboundedReceiver<Request>, rest: mpsc::UnboundedSender<Request>) {
    while let Some(mut request) = requests.recv().await {
        if let Request::Attach { name, give, .. } = &mut request
            && let Some(give) = give.take()
        {
            let made = tap::open(&name.tap());
            let failed = made.is_err();
            // Who asked may be gone: the tap goes with its file.
            if give.send(made).is_err() || failed {
                continue;
            }
        }
        if rest.send(request).is_err() {
            return;
        }
    }
}

/// Answers the first request with the error that keeps the thread from serving any.
fn refuse(request: Option<Request>, error: Error) {
    match request {
        Some(Request::Attach { give: Some(give), .. }) => drop(give.send(Err(error))),
        Some(Request::Attach { reply, .. }) => drop(reply.send(Err(error))),
        _ => {}
    }
}

/// Attaches the uplink, and again when it breaks off; VMs run on meanwhile.
async fn keep_uplink(host: Handle, network: Rc<net::Network>, plan: uplink::UplinkPlan, trouble: Trouble) {
    let mut retry = Retry::new(&trouble, "uplink", RETRY_FIRST, RETRY_LONGEST);
    loop {
        let error = match uplink::attach(&host, &network, &plan).await {
            Ok(mut uplink) => {
                retry.runs();
                uplink.run(&network).await
            }
            Err(error) => error,
        };
        retry.ended(&error, error.to_string()).await;
    }
}

/// Puts the rules back when somebody else has removed them.
async fn keep_rules(network: Rc<net::Network>, names: Rc<Names>, forwarded: Forwarded, trouble: Trouble) {
    const SOURCE: &str = "rules watch";
    let mut watch = match watch::Watch::open() {
        Ok(watch) => watch,
        Err(error) => return trouble.set(SOURCE, vec![error.to_string()]),
    };
    loop {
        match watch.deletions().await {
            // Most of them: each VM that comes or goes changes the rules.
            Ok(deletions) if network.made(&deletions).await => continue,
            Ok(_) => {}
            Err(error) => return trouble.set(SOURCE, vec![error.to_string()]),
        }
        match repair(&network, &forwarded).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!("somebody removed our nft rules; they are back");
                names.forget_answers();
                trouble.clear(SOURCE);
            }
            Err(error) => {
                tracing::warn!("{error}");
                trouble.set(SOURCE, vec![format!("the rules that keep VMs apart are damaged: {error}")]);
            }
        }
    }
}

/// Repairs the rules if they are damaged; says whether they were.
async fn repair(network: &net::Network, forwarded: &Forwarded) -> Result<bool> {
    if network.intact().await? {
        return Ok(false);
    }
    // At once; what takes its time to be read comes after.
    network.repair().await?;
    bring_forwards(network, forwarded).await?;
    Ok(true)
}

async fn bring_forwards(network: &net::Network, forwarded: &Forwarded) -> Result<()> {
    let forwarded = forwarded.clone();
    let read = tokio::task::spawn_blocking(move || forwarded.by_rules()).await;
    let read = read.map_err(|error| Error::Failed(format!("reading the forwards broke off: {error}")))??;
    let Some((_lock, forwards)) = read else { return Ok(()) };
    network.replace_forwards(&forwards).await
}
