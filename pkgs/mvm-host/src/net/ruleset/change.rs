//! Texts for one change, each one transaction. They suppose that the rules are as the model says; where nft refuses one,
//! they are not, and all of them are to be rendered anew.

use super::{BridgeRules, Guest, NatForward, Outside, Ruleset, TABLE, guest, tap};
use mvm_spec::net::Cidr;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Text that adds a bridge.
pub fn add_bridge(bridge: &BridgeRules) -> String {
    bridge_elements("add", bridge)
}

/// Text that removes a bridge, which must be there.
pub fn remove_bridge(bridge: &BridgeRules) -> String {
    bridge_elements("delete", bridge)
}

fn bridge_elements(verb: &str, BridgeRules { name, address }: &BridgeRules) -> String {
    format!(
        "{verb} element inet {TABLE} bridges {{ \"{name}\" }}\n\
         {verb} element inet {TABLE} gateways {{ {} }}\n",
        address.address
    )
}

/// Text that adds a guest, whose tap exists, to the rules. Whether `ruleset` has the guest already makes no difference.
pub fn add_guest(ruleset: &Ruleset, guest: &Guest) -> String {
    tap::add(guest, &ruleset.services) + &guest::add(ruleset, guest)
}

/// Text that removes a guest, which must be there, from the rules.
pub fn remove_guest(ruleset: &Ruleset, guest: &Guest) -> String {
    tap::remove(&guest.tap) + &guest::remove(ruleset, guest)
}

/// Text that makes the maps hold exactly `forwards`, whatever is in them.
pub fn replace_forwards(forwards: &[NatForward]) -> String {
    format!("flush map inet {TABLE} forwards\nflush map inet {TABLE} forwards-at\n{}", add_forwards(forwards))
}

/// Text that adds forwards. Of one key there must be none yet that leads elsewhere.
pub fn add_forwards(forwards: &[NatForward]) -> String {
    let mut text = String::new();
    for (map, any) in [("forwards", true), ("forwards-at", false)] {
        let elements: Vec<String> = forwards
            .iter()
            .filter(|forward| forward.address.is_unspecified() == any)
            .map(|forward| {
                let NatForward { proto, address, host, to, guest } = forward;
                let at = if any { String::new() } else { format!("{address} . ") };
                format!("{at}{proto} . {host} : {to} . {guest}")
            })
            .collect();
        if !elements.is_empty() {
            let _ = writeln!(text, "add element inet {TABLE} {map} {{ {} }}", elements.join(", "));
        }
    }
    text
}

/// Text that replaces the way out, and the host's addresses with it.
pub fn render_outside(outside: Option<&Outside>) -> String {
    let mut text = format!("flush chain inet {TABLE} way-out\n");
    let mut rule = |rule: &str| {
        let _ = writeln!(text, "add rule inet {TABLE} way-out {rule}");
    };
    match outside {
        None => rule("counter goto refuse-outside comment \"no uplink\""),
        Some(Outside { link, resolver, .. }) => {
            if let Some(resolver) = resolver {
                rule(&format!(
                    "ip daddr {resolver} meta l4proto {{ tcp, udp }} th dport 53 accept comment \"the host's resolver\""
                ));
            }
            if let Some(link) = link {
                let link = Cidr { address: link.network(), prefix: link.prefix };
                rule(&format!("ip daddr {link} counter goto refuse-host comment \"the uplink itself\""));
            }
            rule("accept");
        }
    }
    text + &render_host_addresses(outside.map_or(&[], |outside| outside.host_addresses.as_slice()))
}

/// Text that replaces the host's addresses.
pub fn render_host_addresses(addresses: &[Ipv4Addr]) -> String {
    let mut text = format!("flush set inet {TABLE} host-addresses\n");
    if !addresses.is_empty() {
        let list: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
        let _ = writeln!(text, "add element inet {TABLE} host-addresses {{ {} }}", list.join(", "));
    }
    text
}
