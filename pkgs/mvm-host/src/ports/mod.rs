//! Port forwards of a realm.

pub mod proxy;

use crate::net::ruleset::NatForward;
use crate::realm::RealmKind;
use mvm_spec::forward::Forward;
use std::net::{IpAddr, Ipv4Addr};

/// Those of `forwards`, which lead to a guest at `to`, that rules serve besides the proxy: in the host realm, of IPv4
/// addresses other than loopback.
pub fn by_rules(kind: RealmKind, to: Ipv4Addr, forwards: &[Forward]) -> Vec<NatForward> {
    let rule = |forward: &Forward| match (kind, forward.address) {
        (RealmKind::Host, Some(IpAddr::V4(address))) if !address.is_loopback() => {
            let Forward { proto, host, guest, .. } = *forward;
            Some(NatForward { proto, address, host, to, guest })
        }
        _ => None,
    };
    forwards.iter().filter_map(rule).collect()
}
