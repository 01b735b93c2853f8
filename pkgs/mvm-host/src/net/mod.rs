//! The realm's network: a bridge, a tap for each VM, rules, and a way out.
//!
//! Everything here runs on the realm's *network thread*, a thread with a current-thread tokio runtime which in a user
//! realm is in a network namespace of its own (`unshare(CLONE_NEWNET)` by that thread alone), and in the host realm in
//! the host's. [`network`] puts the parts in the right order; the parts:
//!
//! - [`topology`]: which bridge and address a VM gets
//! - [`link`]: bridge, ports, addresses, by netlink; [`tap`]: the tap's file; [`conflict`]: overlapping subnets
//! - [`sysctl`]: forwarding on, IPv6 off; [`mtu`]: the largest packet
//! - [`ruleset`]: renders the nft rules (pure); [`nft`]: applies them; [`elements`]: changes forwards;
//!   [`watch`]: notices when others remove rules ([`nfnetlink`]: the format of both); [`counters`]: what they have refused
//! - [`uplink`]: `pasta`, the way out of a user realm; [`host_addresses`]: what of the host it must not lead to
//! - [`dnsmasq`]: names and addresses for guests
//! - [`spawn`]: children with some capabilities

pub mod conflict;
pub mod counters;
pub mod dnsmasq;
pub mod elements;
mod generation;
pub mod host_addresses;
pub mod link;
pub mod mtu;
pub mod network;
pub mod nfnetlink;
pub mod nft;
pub mod ruleset;
pub mod spawn;
pub mod sysctl;
pub mod tap;
pub mod topology;
pub mod uplink;
pub mod watch;

pub use network::Network;

use crate::realm::{Realm, RealmKind};
use ruleset::{HostService, Outside, Ruleset};
use std::net::Ipv4Addr;

/// What the network should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPlan {
    /// Whose namespace it is in.
    pub kind: RealmKind,
    /// Largest packet of guests, in bytes.
    pub mtu: u32,
    /// What guests may reach on their bridge's address.
    pub services: Vec<HostService>,
    /// Name servers set by the user; empty for those of the host.
    pub dns: Vec<Ipv4Addr>,
}

impl NetworkPlan {
    /// The network that the realm's settings ask for.
    pub fn of(realm: &Realm) -> Self {
        let mtu = match realm.kind {
            RealmKind::User => mtu::ETHERNET,
            RealmKind::Host => mtu::of_default_route(),
        };
        let services = match spawn::find("dnsmasq") {
            Some(_) => vec![HostService::Dhcp, HostService::Dns],
            None => Vec::new(),
        };
        Self { kind: realm.kind, mtu, services, dns: realm.config.dns.clone() }
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

    /// The rules before there are guests and, in a user realm, an uplink.
    pub fn rules(&self) -> Ruleset {
        Ruleset {
            services: self.services.clone(),
            outside: match self.kind {
                RealmKind::User => None,
                // The host's own routes are the uplink, and its addresses are caught on input.
                RealmKind::Host => Some(Outside::default()),
            },
            ..Ruleset::default()
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
