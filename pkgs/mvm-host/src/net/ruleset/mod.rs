//! The nft rules: what they should be ([`Ruleset`]), and texts that bring that about.
//!
//! ```text
//! frame from a guest ── netdev: its own MAC and IPv4 address only ──┬─ to the namespace ── input: DHCP and DNS only
//!                                                                   └─ routed ── forward ─┬─ other guests: pairs of peers only
//!                                                                                         └─ outside: by its egress policy,
//!                                                                                            masqueraded
//! packet from outside ── prerouting: forwards ── forward: what was translated, and answers
//! ```
//!
//! - `table`: the frame, which only the uplink changes; `guest`: a guest's part of it; `tap`: what its tap may send
//! - `change`: texts for one change, whose cost does not depend on how much there is already
//! - [`shape`]: whether the kernel has what it should have
//!
//! All that grows is in sets and maps. Verdicts of ours are `drop`s wherever they decide about guests, because a `drop`
//! ends a packet's way and an `accept` only that of our own chain: other tables on the host keep their say. For the same
//! reason our chains stand at the usual priorities: whichever table comes first, its drops hold.

mod change;
mod guest;
pub mod shape;
mod table;
mod tap;

pub use change::*;

use mvm_spec::VmName;
use mvm_spec::egress::Egress;
use mvm_spec::forward::Protocol;
use mvm_spec::net::{Cidr, MacAddr};
use std::net::Ipv4Addr;

/// Name of our tables, in the families `inet` and `netdev`.
pub const TABLE: &str = "microvm-dev";

/// Comment of the rule that drops IPv6 and all else that guests have no use for.
pub const OTHER_PROTOCOLS: &str = "neither ARP nor IPv4";

/// All that the rules depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The bridges.
    pub bridges: Vec<BridgeRules>,
    /// What guests may reach on their bridge's address.
    pub services: Vec<HostService>,
    /// The way out; without one nothing is routed outward.
    pub outside: Option<Outside>,
    /// The guests, each with a tap that exists.
    pub guests: Vec<Guest>,
    /// Forwards of packets that come from outside.
    pub forwards: Vec<NatForward>,
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeRules {
    /// Interface name.
    pub name: String,
    /// Its address, the guests' gateway, and their subnet.
    pub address: Cidr,
}

/// What guests may reach on the bridge's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostService {
    /// DNS, by UDP and TCP.
    Dns,
    /// DHCP.
    Dhcp,
}

/// The way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// The network between namespace and uplink: closed to guests but for the resolver.
    pub link: Option<Cidr>,
    /// An address in `link` that answers DNS to guests whose egress is not restricted.
    pub resolver: Option<Ipv4Addr>,
    /// Addresses of the host itself, which guests must not reach by the way out.
    pub host_addresses: Vec<Ipv4Addr>,
}

/// A guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The VM.
    pub name: VmName,
    /// Its tap's interface name.
    pub tap: String,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its bridge's address.
    pub gateway: Ipv4Addr,
    /// Its bridge.
    pub bridge: String,
    /// Guests that it reaches, and that reach it, while both are there; one of a pair naming the other is enough. By
    /// name, because an address may be another guest's tomorrow.
    pub peers: Vec<VmName>,
    /// What it may reach outside.
    pub egress: Egress,
    /// Port of the bridge's address to which its DNS queries are sent, whomever they are for; none for 53, or, with
    /// restricted egress, for no DNS at all.
    pub resolver_port: Option<u16>,
}

/// A forward of packets that come from outside. Local connections, and those to loopback, are the proxy's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NatForward {
    /// Transport protocol.
    pub proto: Protocol,
    /// The host's address; 0.0.0.0 for any. A forward of a certain address goes before one of any.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The guest's address.
    pub to: Ipv4Addr,
    /// The guest's port.
    pub guest: u16,
}

impl Guest {
    /// The set of addresses that this guest's resolver fills with the answers to allowed names: what dnsmasq's option
    /// writes as `nftset=/example.com/4#inet#microvm-dev#SET`. There is one for the policy `allow` only.
    ///
    /// When rules are made anew the set is empty, so that the resolver must not answer from a cache of its own.
    pub fn allow_set(tap: &str) -> String {
        format!("allow-{tap}")
    }
}

impl Ruleset {
    /// The guest `name`.
    pub fn guest(&self, name: &VmName) -> Option<&Guest> {
        self.guests.iter().find(|guest| guest.name == *name)
    }

    /// Addresses of the guests that are `guest`'s peers.
    fn peers_of<'a>(&'a self, guest: &'a Guest) -> impl Iterator<Item = Ipv4Addr> + 'a {
        let pair = move |other: &&Guest| {
            other.name != guest.name
                && (guest.peers.contains(&other.name) || other.peers.contains(&guest.name))
        };
        self.guests.iter().filter(pair).map(|other| other.address)
    }
}

/// Text that replaces all that is ours, by one transaction.
pub fn render(ruleset: &Ruleset) -> String {
    let mut text = table::render(&ruleset.services);
    text.push_str(&render_outside(ruleset.outside.as_ref()));
    for bridge in &ruleset.bridges {
        text.push_str(&add_bridge(bridge));
    }
    text.push_str(&format!("table netdev {TABLE}\ndelete table netdev {TABLE}\n"));
    for guest in &ruleset.guests {
        text.push_str(&add_guest(ruleset, guest));
    }
    text.push_str(&add_forwards(&ruleset.forwards));
    text
}

/// Text that removes our tables, if they are there.
pub fn render_removal() -> String {
    format!(
        "table inet {TABLE}\ndelete table inet {TABLE}\ntable netdev {TABLE}\ndelete table netdev {TABLE}\n"
    )
}

#[cfg(test)]
mod tests;
