//! Name and address servers of the realm's bridges, and resolvers of its restricted VMs: started when a VM comes, started
//! again when one ends, told of every VM that comes and goes. For use on the network thread.

use super::retry::Retry;
use super::trouble::Trouble;
use crate::net::dnsmasq::layout::Layout;
use crate::net::dnsmasq::{Dnsmasq, DnsmasqPlan, Launcher, Resolver, ResolverPlan, Upstream, VmHost};
use crate::net::link::{BridgePlan, Lifetime};
use crate::net::ruleset::Guest;
use crate::net::{NetworkPlan, spawn};
use crate::ports::proxy::resolver::PORTS as RELAY_PORTS;
use crate::realm::RealmKind;
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::egress::Egress;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// First pause before a server that ended is started again; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause.
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// First port of restricted VMs' resolvers on a bridge's address.
const PORT_FIRST: u16 = 35_300;

/// The servers.
pub struct Names {
    plan: NetworkPlan,
    dir: PathBuf,
    trouble: Trouble,
    /// All VMs on the network; every bridge's server knows each, so that peers on other bridges have names.
    hosts: Rc<watch::Sender<BTreeMap<VmName, VmHost>>>,
    bridges: RefCell<BTreeMap<String, BridgeServer>>,
    resolvers: RefCell<BTreeMap<VmName, VmResolver>>,
}

/// The task of a bridge's server. Dropping it ends both.
struct BridgeServer {
    lifetime: Lifetime,
    /// The VMs on the bridge.
    guests: BTreeSet<VmName>,
    hosts_dir: PathBuf,
    started: watch::Receiver<bool>,
    task: AbortHandle,
}

/// The task of a restricted VM's resolver. Dropping it ends both.
struct VmResolver {
    bridge: String,
    port: u16,
    running: Rc<RefCell<Option<Rc<Resolver>>>>,
    task: AbortHandle,
}

impl Drop for BridgeServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for VmResolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Names {
    /// The servers of a network, none of which runs yet; their files are below `dir`.
    pub fn new(plan: NetworkPlan, dir: PathBuf, trouble: Trouble) -> Self {
        Self {
            plan,
            dir,
            trouble,
            hosts: Rc::new(watch::channel(BTreeMap::new()).0),
            bridges: RefCell::default(),
            resolvers: RefCell::default(),
        }
    }

    /// Whether there is a program to serve names with.
    pub fn available() -> bool {
        spawn::find("dnsmasq").is_some()
    }

    /// Makes a VM known, its bridge served, and its names resolved as its egress allows. Returns the port its queries go
    /// to, if that is one of its own. All but the check happens beside the VM's start.
    ///
    /// Error: the VM may reach certain names only, and there is nothing to resolve them with.
    pub fn add(&self, bridge: &BridgePlan, host: VmHost, egress: &Egress) -> Result<Option<u16>> {
        let name = host.name.clone();
        if !Self::available() {
            if !egress.names().is_empty() {
                return Err(Error::Failed(format!(
                    "VM `{name}` may reach {}, for which `dnsmasq` is needed; install the package `dnsmasq-base`",
                    egress.names().join(", ")
                )));
            }
            self.trouble.set(
                "names",
                vec![
                    "`dnsmasq` is not installed: VMs have no names and no DHCP; install the package `dnsmasq-base`, stop \
                     all VMs and start them again"
                        .to_owned(),
                ],
            );
            return Ok(None);
        }
        self.hosts.send_modify(|hosts| drop(hosts.insert(name.clone(), host)));
        let (hosts_dir, started) = self.serve(bridge, &name);
        if egress.is_outbound() {
            self.resolvers.borrow_mut().remove(&name);
            return Ok(None);
        }
        let port = self.free_port(&bridge.name)?;
        let plan = ResolverPlan {
            bridge: bridge.name.clone(),
            address: bridge.address.address,
            port,
            dir: self.dir.join(format!("vm-{name}")),
            names: egress.names().into_iter().map(str::to_owned).collect(),
            set: Guest::allow_set(&name.tap()),
            upstream: upstream(&self.plan),
            hosts: hosts_dir,
            log_queries: false,
            name: name.clone(),
        };
        let running = Rc::new(RefCell::new(None));
        let task =
            tokio::task::spawn_local(keep_resolver(plan, started, running.clone(), self.trouble.clone()));
        let resolver = VmResolver { bridge: bridge.name.clone(), port, running, task: task.abort_handle() };
        self.resolvers.borrow_mut().insert(name, resolver);
        Ok(Some(port))
    }

    /// Forgets a VM, and ends the server of its bridge if that goes with it.
    pub fn remove(&self, name: &VmName) {
        self.hosts.send_if_modified(|hosts| hosts.remove(name).is_some());
        self.bridges.borrow_mut().retain(|bridge, server| {
            server.guests.remove(name);
            let stays = server.lifetime == Lifetime::Realm || !server.guests.is_empty();
            if !stays {
                self.trouble.clear(&bridge_trouble(bridge));
            }
            stays
        });
        if self.resolvers.borrow_mut().remove(name).is_some() {
            self.trouble.clear(&resolver_trouble(name));
            let _ = std::fs::remove_dir_all(self.dir.join(format!("vm-{name}")));
        }
    }

    /// Makes the resolvers ask anew: the sets that their answers were in are empty.
    pub fn forget_answers(&self) {
        for resolver in self.resolvers.borrow().values() {
            let running = resolver.running.borrow().clone();
            if let Some(Err(error)) = running.map(|running| running.reload()) {
                tracing::warn!("{error}");
            }
        }
    }

    /// Starts the server of a bridge, if it has none.
    fn serve(&self, bridge: &BridgePlan, guest: &VmName) -> (PathBuf, watch::Receiver<bool>) {
        let mut bridges = self.bridges.borrow_mut();
        let server = bridges.entry(bridge.name.clone()).or_insert_with(|| {
            let dir = self.dir.join(&bridge.name);
            let plan = DnsmasqPlan {
                bridge: bridge.name.clone(),
                address: bridge.address,
                mtu: bridge.mtu,
                dir: dir.clone(),
                upstream: upstream(&self.plan),
                log_queries: false,
            };
            let (started, is_started) = watch::channel(false);
            let task = keep_server(plan, self.hosts.subscribe(), started, self.trouble.clone());
            BridgeServer {
                lifetime: bridge.lifetime,
                guests: BTreeSet::new(),
                hosts_dir: Layout::new(&dir).hosts(),
                started: is_started,
                task: tokio::task::spawn_local(task).abort_handle(),
            }
        });
        server.guests.insert(guest.clone());
        (server.hosts_dir.clone(), server.started.clone())
    }

    fn free_port(&self, bridge: &str) -> Result<u16> {
        let resolvers = self.resolvers.borrow();
        let used: BTreeSet<u16> = resolvers.values().filter(|r| r.bridge == bridge).map(|r| r.port).collect();
        (PORT_FIRST..u16::MAX).find(|port| !used.contains(port)).ok_or_else(|| {
            Error::Failed(format!(
                "the bridge {bridge} has no port left for another restricted VM's resolver"
            ))
        })
    }
}

/// Who answers other names: the servers that the user has set, or the host's. In a user realm those are at the other end
/// of the proxy's relay, one a port.
fn upstream(plan: &NetworkPlan) -> Upstream {
    match plan.kind {
        _ if !plan.dns.is_empty() => {
            Upstream::Servers(plan.dns.iter().map(|server| SocketAddr::from((*server, 53))).collect())
        }
        RealmKind::User => {
            Upstream::Servers(RELAY_PORTS.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).to_vec())
        }
        RealmKind::Host => Upstream::ResolvConf(PathBuf::from("/etc/resolv.conf")),
    }
}

fn bridge_trouble(bridge: &str) -> String {
    format!("names on {bridge}")
}

fn resolver_trouble(name: &VmName) -> String {
    format!("names of {name}")
}

/// Runs the server of a bridge for as long as there is one, with the VMs that there are.
async fn keep_server(
    plan: DnsmasqPlan,
    mut hosts: watch::Receiver<BTreeMap<VmName, VmHost>>,
    started: watch::Sender<bool>,
    trouble: Trouble,
) {
    let source = bridge_trouble(&plan.bridge);
    let mut retry = Retry::new(&trouble, source, RETRY_FIRST, RETRY_LONGEST);
    loop {
        let error = match Dnsmasq::start(&plan, &Launcher::default()).await {
            Ok(server) => {
                started.send_replace(true);
                retry.runs();
                tell(&server, &mut hosts).await
            }
            Err(error) => error,
        };
        retry.ended(&error, error.to_string()).await;
    }
}

/// Keeps a running server informed, to its end.
async fn tell(server: &Dnsmasq, hosts: &mut watch::Receiver<BTreeMap<VmName, VmHost>>) -> Error {
    // What an earlier instance of this directory knew may be gone.
    let mut stale: BTreeSet<VmName> = server.names().unwrap_or_default().into_iter().collect();
    let mut known: BTreeMap<VmName, VmHost> = BTreeMap::new();
    loop {
        let wanted = hosts.borrow_and_update().clone();
        let inform = async {
            stale.retain(|name| !wanted.contains_key(name));
            for name in known.keys().filter(|name| !wanted.contains_key(*name)).chain(&stale) {
                server.remove(name).await?;
            }
            stale.clear();
            for (name, host) in &wanted {
                if known.get(name) != Some(host) {
                    server.add(host).await?;
                }
            }
            Ok::<_, Error>(())
        };
        tokio::select! {
            informed = inform => if let Err(error) = informed {
                return error;
            },
            ended = server.wait() => return ended,
        }
        known = wanted;
        tokio::select! {
            changed = hosts.changed() => if changed.is_err() {
                return Error::Failed("the realm's network is being taken down".to_owned());
            },
            ended = server.wait() => return ended,
        }
    }
}

/// Runs the resolver of a restricted VM for as long as the VM is there.
async fn keep_resolver(
    plan: ResolverPlan,
    mut started: watch::Receiver<bool>,
    running: Rc<RefCell<Option<Rc<Resolver>>>>,
    trouble: Trouble,
) {
    // The names of VMs are in a directory of the bridge's server.
    if started.wait_for(|started| *started).await.is_err() {
        return;
    }
    let source = resolver_trouble(&plan.name);
    let mut retry = Retry::new(&trouble, source, RETRY_FIRST, RETRY_LONGEST);
    loop {
        let error = match Resolver::start(&plan, &Launcher::default()).await {
            Ok(resolver) => {
                let resolver = Rc::new(resolver);
                running.replace(Some(resolver.clone()));
                retry.runs();
                let error = resolver.wait().await;
                running.replace(None);
                error
            }
            Err(error) => error,
        };
        retry.ended(&error, error.to_string()).await;
    }
}
