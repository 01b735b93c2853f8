//! The realm's network: a bridge, a tap for each VM, rules, and a way out.
//!
//! Everything here runs on the realm's *network thread*, a thread with a current-thread tokio runtime which in a user
//! realm is in a network namespace of its own (`unshare(CLONE_NEWNET)` by that thread alone), and in the host realm in
//! the host's. [`Network`] puts the parts in the right order; the parts:
//!
//! - [`link`]: bridge, ports, addresses, by netlink; [`tap`]: the tap's file; [`conflict`]: overlapping subnets
//! - [`sysctl`]: forwarding on, IPv6 off
//! - [`ruleset`]: renders the nft rules (pure); [`nft`]: applies them
//! - [`uplink`]: `pasta`, the way out of a user realm; [`host_addresses`]: what of the host it must not lead to
//! - [`spawn`]: children with some capabilities

pub mod conflict;
pub mod host_addresses;
pub mod link;
pub mod nft;
pub mod ruleset;
pub mod spawn;
pub mod sysctl;
pub mod tap;
pub mod uplink;

use crate::Result;
use crate::realm::{Realm, RealmKind};
use link::{BridgePlan, Links, TapPlan};
use ruleset::{Outside, Port, Ruleset};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use sysctl::Forwarding;

/// The guests' largest packet, in bytes: Ethernet's.
pub const MTU: u32 = 1500;

/// What the network should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPlan {
    /// Whose namespace it is in.
    pub kind: RealmKind,
    /// The bridge.
    pub bridge: BridgePlan,
    /// Name servers set by the user; empty for those of the host.
    pub dns: Vec<Ipv4Addr>,
}

impl NetworkPlan {
    /// The network that the realm's settings ask for.
    pub fn of(realm: &Realm) -> Self {
        let config = &realm.config;
        let bridge = BridgePlan { name: config.bridge.clone(), address: config.subnet, mtu: MTU };
        Self { kind: realm.kind, bridge, dns: config.dns.clone() }
    }

    /// Name servers for the guests' resolv.conf, known before there is an uplink. In a user realm the address that
    /// the uplink leads to the host's resolver; in the host realm those of the host that are not on its loopback.
    pub fn dns(&self) -> Vec<Ipv4Addr> {
        match self.kind {
            _ if !self.dns.is_empty() => self.dns.clone(),
            RealmKind::User => vec![uplink::RESOLVER],
            RealmKind::Host => ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]
                .iter()
                .filter_map(|file| std::fs::read_to_string(file).ok())
                .map(|text| name_servers(&text))
                .find(|servers| !servers.is_empty())
                .unwrap_or_default(),
        }
    }

    /// The rules while there is no uplink.
    pub fn rules(&self) -> Ruleset {
        Ruleset {
            bridge: self.bridge.name.clone(),
            subnet: self.bridge.address,
            services: Vec::new(),
            outside: match self.kind {
                RealmKind::User => None,
                // The host's own routes are the uplink, and its addresses are caught on input.
                RealmKind::Host => Some(Outside::default()),
            },
        }
    }
}

/// The IPv4 name servers of a resolv.conf(5) that are not on loopback.
fn name_servers(text: &str) -> Vec<Ipv4Addr> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|server| server.trim().parse().ok())
        .filter(|server: &Ipv4Addr| !server.is_loopback())
        .collect()
}

/// The network as it stands, and its connection to the kernel. For use on the network thread.
#[derive(Debug)]
pub struct Network {
    links: Links,
    plan: NetworkPlan,
    filtered: bool,
}

impl Network {
    /// Sets everything up that is there before the first VM; what is so already stays. The texts are warnings for the
    /// user.
    ///
    /// Errors: bridge or settings can't be made. A missing `nft` is a warning in a user realm, where nothing is routed
    /// then, and an error in the host realm, where guests would reach the host.
    pub async fn set_up(plan: NetworkPlan) -> Result<(Self, Vec<String>)> {
        let links = Links::open()?;
        let filtered = nft::installed() || plan.kind == RealmKind::Host;
        let mut warnings = Vec::new();
        if plan.kind == RealmKind::User {
            links.loopback_up().await?;
        }
        if filtered {
            // Rules first: at no time is anything routed without them.
            nft::apply(&ruleset::render(&plan.rules())).await?;
            sysctl::apply(&sysctl::plan_namespace(plan.kind, Forwarding::On))?;
        } else {
            sysctl::apply(&sysctl::plan_namespace(plan.kind, Forwarding::Off))?;
            warnings.push(
                "`nft` is not installed: VMs have no way out of their network; install the package `nftables`, stop \
                 all VMs and start them again"
                    .to_owned(),
            );
        }
        links.ensure_bridge(&plan.bridge).await?;
        Ok((Self { links, plan, filtered }, warnings))
    }

    /// Makes the port of a VM, whose guest can send as itself only, and returns the tap's file for the VMM. The tap
    /// goes with the file. `owner` may open the tap too.
    pub async fn add_port(&self, port: &Port, owner: Option<u32>) -> Result<OwnedFd> {
        let BridgePlan { name: bridge, mtu, .. } = &self.plan.bridge;
        let tap = TapPlan { name: port.tap.clone(), bridge: bridge.clone(), owner, mtu: *mtu };
        let file = self.links.create_tap(&tap).await?;
        if self.filtered {
            nft::apply(&ruleset::render_port(port, &self.plan.rules().services)).await?;
        }
        Ok(file)
    }

    /// Removes the port of a VM and its rules; already gone is success.
    pub async fn remove_port(&self, tap: &str) -> Result<()> {
        let rules = match self.filtered {
            true => nft::apply(&ruleset::render_port_removal(tap)).await,
            false => Ok(()),
        };
        self.links.delete_link(tap).await.and(rules)
    }

    /// What to attach an uplink by ([`uplink::attach`]); none in the host realm, whose uplink is the host's own, and
    /// none without rules. `namespace` is where [`uplink::pin_namespace`] mounted the namespace.
    pub fn uplink_plan(&self, namespace: std::path::PathBuf) -> Option<uplink::UplinkPlan> {
        (self.filtered && self.plan.kind == RealmKind::User)
            .then(|| uplink::UplinkPlan { namespace, rules: self.plan.rules() })
    }

    /// Removes bridge and rules. Goes on after an error, and returns the first.
    pub async fn tear_down(self) -> Result<()> {
        let bridge = self.links.delete_bridge(&self.plan.bridge.name).await;
        let rules = match self.filtered {
            true => nft::apply(&ruleset::render_removal()).await,
            false => Ok(()),
        };
        bridge.and(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_loopback_are_of_no_use_to_guests() {
        let text =
            "# generated\nnameserver 127.0.0.53\nnameserver  9.9.9.9\noptions edns0\nnameserver fd00::1\n";
        assert_eq!(name_servers(text), [Ipv4Addr::new(9, 9, 9, 9)]);
    }
}
