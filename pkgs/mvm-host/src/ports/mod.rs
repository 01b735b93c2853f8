//! Port forwards of a realm.

pub mod proxy;

use crate::net::ruleset::NatForward;
use crate::realm::RealmKind;
use mvm_spec::forward::Forward;
use std::net::{IpAddr, Ipv4Addr};

/// The rule for a forward to a guest at `to`, besides what the proxy does: in the host realm, for IPv4 addresses other
/// than loopback. None for all others, which are the proxy's alone.
pub fn by_rule(kind: RealmKind, forward: &Forward, to: Ipv4Addr) -> Option<NatForward> {
    match (kind, forward.address) {
        (RealmKind::Host, Some(IpAddr::V4(address))) if !address.is_loopback() => {
            Some(NatForward { proto: forward.proto, address, host: forward.host, to, guest: forward.guest })
        }
        _ => None,
    }
}
