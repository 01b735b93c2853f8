//! Renders the nft rules: one table of ours for routing and access, one for what a tap may send.
//!
//! ```text
//! frame from a guest ── netdev: its own MAC and IPv4 address only ──┬─ to the bridge's address ── input: listed services only
//!                                                                   └─ routed ── forward ─┬─ other guests: never
//!                                                                                         └─ outside: masqueraded
//! ```
//!
//! Verdicts of ours are `drop`s wherever they decide about guests, because a `drop` ends a packet's way and an `accept`
//! only that of our own chain: other tables on the host keep their say.

use mvm_spec::net::{Cidr, MacAddr};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Name of our tables, in the families `inet` and `netdev`.
pub const TABLE: &str = "microvm-dev";

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
    /// An address in `link` that answers DNS.
    pub resolver: Option<Ipv4Addr>,
    /// Addresses of the host itself, which guests must not reach by the way out.
    pub host_addresses: Vec<Ipv4Addr>,
}

/// What the routing table of rules depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// The bridge.
    pub bridge: String,
    /// The bridge's address and the guests' subnet.
    pub subnet: Cidr,
    /// What guests may reach on the bridge's address.
    pub services: Vec<HostService>,
    /// The way out; without one nothing is routed.
    pub outside: Option<Outside>,
}

/// Text that replaces the whole `inet` table.
pub fn render(ruleset: &Ruleset) -> String {
    let Ruleset { bridge, subnet, services, outside } = ruleset;
    let gateway = subnet.address;
    let subnet = Cidr { address: subnet.network(), prefix: subnet.prefix };
    let services: String = services
        .iter()
        .map(|service| match service {
            HostService::Dns => format!(
                "\t\tip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept comment \"DNS\"\n"
            ),
            HostService::Dhcp => "\t\tudp sport 68 udp dport 67 accept comment \"DHCP\"\n".to_owned(),
        })
        .collect();
    let elements = outside.as_ref().map(|outside| elements(&outside.host_addresses)).unwrap_or_default();
    let mut allowed = String::new();
    if let Some(outside) = outside {
        if let Some(resolver) = outside.resolver {
            allowed.push_str(&format!(
                "\t\tip daddr {resolver} meta l4proto {{ tcp, udp }} th dport 53 accept comment \"the host's resolver\"\n"
            ));
        }
        if let Some(link) = outside.link {
            let link = Cidr { address: link.network(), prefix: link.prefix };
            allowed.push_str(&format!("\t\tip daddr {link} counter drop comment \"the uplink itself\"\n"));
        }
        allowed
            .push_str("\t\tip daddr @host-addresses counter drop comment \"the host by its other names\"\n");
        allowed.push_str("\t\taccept\n");
    } else {
        allowed.push_str("\t\tcounter drop comment \"no uplink\"\n");
    }
    format!(
        r#"# {TABLE}: replaced as a whole; foreign tables are never touched.
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
	# Addresses of the host: kept up to date while VMs run.
	set host-addresses {{
		type ipv4_addr
{elements}	}}

	chain input {{
		type filter hook input priority filter; policy accept;
		iifname "{bridge}" jump from-guest
	}}

	# Guest to the namespace the bridge is in, by whichever of its addresses.
	chain from-guest {{
		ct state established,related accept
{services}		counter drop comment "guest to host"
	}}

	chain forward {{
		type filter hook forward priority filter; policy accept;
		# First, so that no later rule, nor a forward's address translation, joins two guests.
		iifname "{bridge}" oifname "{bridge}" counter drop comment "guest to guest"
		oifname "{bridge}" jump to-guest
		iifname "{bridge}" jump outbound
	}}

	chain to-guest {{
		ct state established,related accept
		counter drop comment "outside to guest"
	}}

	chain outbound {{
		meta nfproto ipv6 counter drop comment "IPv6 is off"
		ct state invalid counter drop
		ip saddr != {subnet} counter drop comment "spoofed"
		ip daddr {{ 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255 }} counter drop comment "loopback, link-local and metadata, multicast"
{allowed}	}}

	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr {subnet} oifname != "{bridge}" masquerade
	}}
}}
"#
    )
}

/// Text that replaces the set of the host's addresses, and nothing else.
pub fn render_host_addresses(addresses: &[Ipv4Addr]) -> String {
    let mut text = format!("flush set inet {TABLE} host-addresses\n");
    if !addresses.is_empty() {
        let _ = writeln!(text, "add element inet {TABLE} host-addresses {{ {} }}", list(addresses));
    }
    text
}

fn elements(addresses: &[Ipv4Addr]) -> String {
    if addresses.is_empty() { String::new() } else { format!("\t\telements = {{ {} }}\n", list(addresses)) }
}

fn list(addresses: &[Ipv4Addr]) -> String {
    addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ")
}

/// A guest's port of the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The tap's interface name.
    pub tap: String,
    /// The guest's MAC address.
    pub mac: MacAddr,
    /// The guest's address.
    pub address: Ipv4Addr,
}

/// Text that lets the port's guest send as itself only, whether or not there are rules for the port already.
/// The tap must exist; the kernel drops the chain's hook with it.
pub fn render_port(port: &Port, services: &[HostService]) -> String {
    let Port { tap, mac, address } = port;
    let dhcp = if services.contains(&HostService::Dhcp) {
        "\t\tip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept comment \"DHCP, before it has an address\"\n"
    } else {
        ""
    };
    // Deleting and making anew, not flushing: a chain left by an earlier tap of that name has lost its device.
    format!(
        r#"table netdev {TABLE} {{
	chain {tap} {{
	}}
}}
delete chain netdev {TABLE} {tap}
table netdev {TABLE} {{
	chain {tap} {{
		type filter hook ingress device "{tap}" priority -500; policy drop;
		ether saddr != {mac} counter drop comment "spoofed MAC"
		ether type arp arp htype 1 arp ptype ip arp saddr ether {mac} arp saddr ip {{ {address}, 0.0.0.0 }} accept
		ether type arp counter drop comment "spoofed ARP"
		ether type ip udp sport 67 counter drop comment "rogue DHCP server"
		ether type ip ip saddr {address} accept
{dhcp}		ether type ip counter drop comment "spoofed address"
		counter drop comment "neither ARP nor IPv4"
	}}
}}
"#
    )
}

/// Text that removes a port's rules; they must be there ([`render_port`] makes sure).
pub fn render_port_removal(tap: &str) -> String {
    format!("table netdev {TABLE} {{\n\tchain {tap} {{\n\t}}\n}}\ndelete chain netdev {TABLE} {tap}\n")
}

/// Text that removes our tables, if they are there.
pub fn render_removal() -> String {
    format!(
        "table inet {TABLE}\ndelete table inet {TABLE}\ntable netdev {TABLE}\ndelete table netdev {TABLE}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Ruleset {
        Ruleset {
            bridge: "virbr-mvm".into(),
            subnet: "192.168.100.1/24".parse().unwrap(),
            services: Vec::new(),
            outside: None,
        }
    }

    fn port() -> Port {
        let address = Ipv4Addr::new(192, 168, 100, 10);
        Port { tap: "mvm-shop".into(), mac: "02:1a:2b:3c:4d:5e".parse().unwrap(), address }
    }

    #[test]
    fn without_an_uplink_nothing_is_routed() {
        insta::assert_snapshot!(render(&rules()));
    }

    #[test]
    fn with_an_uplink_guests_reach_out_but_not_the_host() {
        let outside = Outside {
            link: Some("192.0.0.2/29".parse().unwrap()),
            resolver: Some(Ipv4Addr::new(192, 0, 0, 3)),
            host_addresses: vec![Ipv4Addr::new(10, 9, 8, 7), Ipv4Addr::new(172, 17, 0, 1)],
        };
        insta::assert_snapshot!(render(&Ruleset { outside: Some(outside), ..rules() }));
    }

    #[test]
    fn only_listed_services_of_the_host_are_open() {
        let services = vec![HostService::Dns, HostService::Dhcp];
        insta::assert_snapshot!(render(&Ruleset { services, ..rules() }));
    }

    #[test]
    fn a_port_sends_as_itself_only() {
        insta::assert_snapshot!(render_port(&port(), &[]));
    }

    #[test]
    fn a_port_with_dhcp_may_ask_for_its_address() {
        let without = render_port(&port(), &[HostService::Dns]);
        let with = render_port(&port(), &[HostService::Dhcp]);
        let added: Vec<_> = with.lines().filter(|line| !without.contains(line)).collect();
        assert_eq!(added.len(), 1);
        assert!(added[0].contains("udp sport 68 udp dport 67 accept"), "{added:?}");
    }
}
