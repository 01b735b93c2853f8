//! The thread that is in the realm's network: it makes taps and ports, and keeps uplink and rules.

use crate::keeper::names::Names;
use crate::keeper::ports::Forwarded;
use crate::keeper::retry::Retry;
use crate::keeper::trouble::Trouble;
use crate::net::counters::Denied;
use crate::net::dnsmasq::VmHost;
use crate::net::ruleset::Guest;
use crate::net::topology::Topology;
use crate::net::{self, NetworkPlan, tap, uplink, watch};
use crate::realm::RealmKind;
use crate::{Error, Result, fault};
use mvm_spec::VmName;
use mvm_spec::latest::Network as NetworkSpec;
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

/// What the keeper's tasks ask of it.
pub enum Request {
    /// The port of a VM.
    Attach {
        /// The VM.
        name: VmName,
        /// Its place in the network.
        network: Box<NetworkSpec>,
        /// Whose its tap is.
        tap: Tap,
        /// Who waits for the tap if it is to be made; nobody afterwards.
        give: Option<oneshot::Sender<Result<OwnedFd>>>,
        /// Who waits for the port.
        reply: oneshot::Sender<Result<()>>,
    },
    /// The VM's port is to be no more.
    Detach {
        /// The VM.
        name: VmName,
    },
    /// What was refused to a VM.
    Denied {
        /// The VM.
        name: VmName,
        /// Who wants to know.
        reply: oneshot::Sender<Result<Denied>>,
    },
    /// Forwards that go by rules, as they are stored now.
    Forward {
        /// Who waits for it.
        reply: oneshot::Sender<Result<()>>,
    },
    /// The end of it all.
    End {
        /// Who waits for it.
        reply: oneshot::Sender<()>,
    },
}

/// Whose a VM's tap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tap {
    /// Ours: it is made first of all, and goes with its file.
    Made,
    /// Somebody else has made it, and keeps it.
    Adopted,
}

/// What the thread works with.
pub struct Thread {
    /// Where VMs have their place.
    pub topology: Box<dyn Topology>,
    /// What the network is to be.
    pub plan: NetworkPlan,
    /// Where its namespace is pinned, if it has one of its own.
    pub pin: PathBuf,
    /// Where dnsmasq's files are.
    pub names_dir: PathBuf,
    /// What is to be forwarded by rules.
    pub forwarded: Forwarded,
    /// Where it says what is wrong.
    pub trouble: Trouble,
    /// The keeper's runtime, whose thread is in the host's network namespace.
    pub host: Handle,
}

impl Thread {
    /// The thread. What fails before the first request is its answer.
    pub fn run(self, mut requests: mpsc::UnboundedReceiver<Request>) {
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
