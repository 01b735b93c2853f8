//! The instance of a bridge: DNS and DHCP for its guests.

use super::instance::{Instance, InstancePlan, Launcher, PAUSE};
use super::layout::Layout;
use super::upstream::{POLL, Upstream, resolv_conf};
use super::{DOMAIN, DnsmasqPlan, VmHost, config, hosts, query, release};
use crate::dnsmasq_process::Role;
use crate::{Error, Result};
use mvm_spec::VmName;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// How long to wait for dnsmasq to see a change by itself before telling it.
const NUDGE: Duration = Duration::from_secs(2);

/// A running name and address server. Dropping it ends it, at once. For use on the realm's network thread.
#[derive(Debug)]
pub struct Dnsmasq {
    instance: Instance,
    layout: Layout,
    bridge: String,
    gateway: Ipv4Addr,
    follower: Option<AbortHandle>,
}

impl Dnsmasq {
    /// Starts it and returns when it answers. Call it on a runtime whose thread is in the bridge's network namespace;
    /// the bridge has its address. With the directory of an earlier instance it knows the same VMs and leases.
    ///
    /// Errors: dnsmasq is missing, or can't have its address; the plan can't be written as a configuration.
    pub async fn start(plan: &DnsmasqPlan, launcher: &Launcher) -> Result<Self> {
        let layout = Layout::new(&plan.dir);
        let conf = config::bridge(plan)?;
        let gateway = plan.address.address;
        layout.create()?;
        if matches!(plan.upstream, Upstream::ResolvConf(_)) {
            layout.put(&layout.conf().join(config::RESOLV_FILE), &resolv_conf(&plan.upstream.servers()))?;
        }
        let instance = Instance::start(
            InstancePlan {
                lost: format!("no DNS and DHCP on the bridge {}", plan.bridge),
                layout: &layout,
                conf,
                role: Role::Bridge,
                hosts: layout.hosts(),
                server: SocketAddr::from((gateway, 53)),
            },
            launcher,
        )
        .await?;
        let follower = matches!(plan.upstream, Upstream::ResolvConf(_)).then(|| {
            let (layout, upstream) = (layout.clone(), plan.upstream.clone());
            tokio::spawn(follow(layout, upstream)).abort_handle()
        });
        Ok(Self { instance, layout, bridge: plan.bridge.clone(), gateway, follower })
    }

    /// Makes a VM known, or known by another address; returns when its name leads there and DHCP will give it.
    pub async fn add(&self, host: &VmHost) -> Result<()> {
        if hosts::add(&self.layout, host)? {
            self.instance.reload()?;
        }
        let what = format!("resolve {}.{DOMAIN}", host.name);
        self.answers(&host.name, &what, |answer| answer.leads_to(host.address.into())).await
    }

    /// Forgets a VM, its lease included; returns when its name does not exist any more. Already so is success.
    pub async fn remove(&self, name: &VmName) -> Result<()> {
        let entry = hosts::dhcp_entry(&self.layout, name);
        hosts::remove(&self.layout, name)?;
        self.instance.reload()?;
        let what = format!("forget {name}.{DOMAIN}");
        self.answers(name, &what, |answer| answer.code == query::NXDOMAIN).await?;
        // The last answer may have been on its way before the signal was seen; this one was not.
        self.answers(name, &what, |answer| answer.code == query::NXDOMAIN).await?;
        let Some((mac, address)) = entry else { return Ok(()) };
        self.release(&mac, &address).await
    }

    /// The VMs it knows.
    pub fn names(&self) -> Result<Vec<VmName>> {
        hosts::list(&self.layout)
    }

    /// The directory with the VMs' names, for [`super::ResolverPlan::hosts`].
    pub fn hosts_dir(&self) -> PathBuf {
        self.layout.hosts()
    }

    /// Tells it to read its files again and to forget what it knows from upstream (SIGHUP).
    pub fn reload(&self) -> Result<()> {
        self.instance.reload()
    }

    /// Waits until it has ended; says why. The names and leases stay for the next one.
    pub async fn wait(&self) -> Error {
        self.instance.wait().await
    }

    /// Its process id, as its parent sees it; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.instance.pid()
    }

    async fn answers(
        &self,
        name: &VmName,
        what: &str,
        wanted: impl Fn(&query::Answer) -> bool,
    ) -> Result<()> {
        let (server, name) = (SocketAddr::from((self.gateway, 53)), format!("{name}.{DOMAIN}"));
        let mut nudge = Instant::now() + NUDGE;
        let answers = async {
            while !query::ask(server, &name).await.is_some_and(|answer| wanted(&answer)) {
                // inotify(7) can lose events when there are very many.
                if Instant::now() > nudge {
                    nudge = Instant::now() + NUDGE;
                    self.instance.reload()?;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        self.instance.within_deadline(what, answers).await
    }

    /// Gives back the lease of a VM that is gone, if it has one: its address may be another VM's next.
    async fn release(&self, mac: &str, address: &str) -> Result<()> {
        let leases = self.layout.leases();
        let leased = || std::fs::read_to_string(&leases).is_ok_and(|text| has_lease(&text, mac, address));
        let (Ok(hardware), Ok(ip)) = (mac.parse(), address.parse()) else { return Ok(()) };
        let mut again = Instant::now();
        let released = async {
            while leased() {
                if Instant::now() >= again {
                    again = Instant::now() + NUDGE;
                    release::send(&self.bridge, self.gateway, hardware, ip)?;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        self.instance.within_deadline(&format!("give up the lease of {address}"), released).await
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}

fn has_lease(leases: &str, mac: &str, address: &str) -> bool {
    leases.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, lease_mac, lease_address, ..] if lease_mac == mac && lease_address == address)
    })
}

/// Keeps the instance's copy of the host's name servers up to date. dnsmasq sees that it changes by inotify(7).
async fn follow(layout: Layout, upstream: Upstream) {
    let file = layout.conf().join(config::RESOLV_FILE);
    let mut pause = tokio::time::interval(POLL);
    loop {
        pause.tick().await;
        if let Err(error) = layout.put(&file, &resolv_conf(&upstream.servers())) {
            tracing::warn!("guests ask the host's former name servers: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_lease_is_found_by_both_its_addresses() {
        let leases = "1700000000 02:00:00:00:00:0a 192.168.100.10 * 01:02:00:00:00:00:0a\n\
                      1700000000 02:00:00:00:00:0b 192.168.100.11 * *\n";
        assert!(super::has_lease(leases, "02:00:00:00:00:0b", "192.168.100.11"));
        assert!(!super::has_lease(leases, "02:00:00:00:00:0b", "192.168.100.10"));
        assert!(!super::has_lease("", "02:00:00:00:00:0b", "192.168.100.10"));
    }
}
