//! A guest's part of the `inet` table: elements, and a chain and sets if what it may reach is listed.

use super::{Guest, HostService, Ruleset, TABLE};
use mvm_spec::egress::Egress;
use mvm_spec::net::Cidr;
use std::fmt::Write;

/// Most addresses that allowed names of one guest may have: 256 KiB of the kernel's memory or so.
const NAMES_SIZE: usize = 4096;

/// Text that makes the guest's chain and sets, which its elements may refer to.
fn policy(guest: &Guest) -> String {
    let Guest { tap, egress: Egress::Allow { .. }, .. } = guest else { return String::new() };
    let names = Guest::allow_set(tap);
    let networks = disjoint(guest.egress.networks());
    let elements = if networks.is_empty() {
        String::new()
    } else {
        format!("\t\telements = {{ {} }}\n", networks.join(", "))
    };
    format!(
        r#"table inet {TABLE} {{
	set {names} {{
		type ipv4_addr
		size {NAMES_SIZE}
	}}

	set networks-{tap} {{
		type ipv4_addr
		flags interval
{elements}	}}

	chain egress-{tap} {{
		ip daddr @{names} goto way-out
		ip daddr @networks-{tap} goto way-out
		goto refuse-outside
	}}
}}
"#
    )
}

/// The guest's elements: set or map, and the element.
fn elements(ruleset: &Ruleset, guest: &Guest) -> Vec<(&'static str, String)> {
    let Guest { tap, address, gateway, egress, resolver_port, .. } = guest;
    let mut elements = vec![("guests", address.to_string())];
    let restricted = match egress {
        Egress::Outbound => None,
        Egress::None => Some("refuse-outside".to_owned()),
        Egress::Allow { .. } => Some(format!("egress-{tap}")),
    };
    if let Some(chain) = &restricted {
        elements.push(("restricted", format!("{address} : goto {chain}")));
    }
    if ruleset.services.contains(&HostService::Dns) {
        match resolver_port {
            Some(port) => {
                elements.push(("dns", format!("{address} . {gateway} . {port}")));
                elements.push(("resolvers", format!("{address} : {port}")));
            }
            None if restricted.is_none() => {
                elements.push(("dns", format!("{address} . {gateway} . 53")));
            }
            None => {}
        }
    }
    for peer in ruleset.peers_of(guest) {
        elements.push(("peers", format!("{address} . {peer}")));
        elements.push(("peers", format!("{peer} . {address}")));
    }
    elements
}

/// Text that adds what is about the guest.
pub fn add(ruleset: &Ruleset, guest: &Guest) -> String {
    let mut text = policy(guest);
    for (set, element) in elements(ruleset, guest) {
        let _ = writeln!(text, "add element inet {TABLE} {set} {{ {element} }}");
    }
    // From the beginning, so that there is something to read.
    for set in ["refused-guests", "refused-host", "refused-outside"] {
        let _ = writeln!(text, "add element inet {TABLE} {set} {{ {} }}", guest.address);
    }
    text
}

/// Text that removes what is about the guest, which must be there.
pub fn remove(ruleset: &Ruleset, guest: &Guest) -> String {
    let mut text = String::new();
    for (set, element) in elements(ruleset, guest) {
        let _ = writeln!(text, "delete element inet {TABLE} {set} {{ {element} }}");
    }
    for set in ["refused-guests", "refused-host", "refused-outside"] {
        let _ = writeln!(text, "delete element inet {TABLE} {set} {{ {} }}", guest.address);
    }
    let Guest { tap, .. } = guest;
    if matches!(guest.egress, Egress::Allow { .. }) {
        let _ = writeln!(
            text,
            "delete chain inet {TABLE} egress-{tap}\ndelete set inet {TABLE} {}\ndelete set inet {TABLE} networks-{tap}",
            Guest::allow_set(tap)
        );
    }
    text
}

/// The networks without those that lie within others, which nft refuses in one set.
fn disjoint(mut networks: Vec<Cidr>) -> Vec<String> {
    networks.sort_unstable_by_key(|network| (network.prefix, network.address));
    let mut kept: Vec<Cidr> = Vec::new();
    for network in networks {
        if !kept.iter().any(|wider| wider.contains(network.address)) {
            kept.push(network);
        }
    }
    kept.iter().map(Cidr::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_within_others_are_left_out() {
        let networks = ["10.1.2.0/24", "10.0.0.0/8", "10.1.2.3/32", "192.0.2.7/32", "192.0.2.7/32"];
        let networks = networks.map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(disjoint(networks), ["10.0.0.0/8", "192.0.2.7/32"]);
    }
}
