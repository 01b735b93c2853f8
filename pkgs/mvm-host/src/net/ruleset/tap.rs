//! What a tap may send: its guest's own address only. By netdev chains, which see frames before the bridge does.

use super::{Guest, HostService, OTHER_PROTOCOLS, TABLE};

/// Text that lets the tap's guest send as itself only, whether or not there are rules for the tap already.
/// The tap must exist; the kernel drops the chain's hook with it.
pub fn add(guest: &Guest, services: &[HostService]) -> String {
    let Guest { tap, mac, address, .. } = guest;
    let dhcp = if services.contains(&HostService::Dhcp) {
        "\t\tether type ip ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept comment \"DHCP, before it has an address\"\n"
    } else {
        ""
    };
    // Deleting and making anew, not flushing: a chain left by an earlier tap of that name has lost its device.
    // Only a datagram's first fragment has ports.
    format!(
        r#"{}table netdev {TABLE} {{
	chain {tap} {{
		type filter hook ingress device "{tap}" priority -500; policy drop;
		ether saddr != {mac} counter drop comment "spoofed MAC"
		ether type arp arp htype 1 arp ptype ip arp saddr ether {mac} arp saddr ip {{ {address}, 0.0.0.0 }} accept
		ether type arp counter drop comment "spoofed ARP"
		ether type ip ip frag-off & 0x1fff == 0 udp sport 67 counter drop comment "rogue DHCP server"
		ether type ip ip saddr {address} accept
{dhcp}		ether type ip counter drop comment "spoofed address"
		counter drop comment "{OTHER_PROTOCOLS}"
	}}
}}
"#,
        remove(tap)
    )
}

/// Text that removes a tap's rules; already gone is success.
pub fn remove(tap: &str) -> String {
    format!("table netdev {TABLE} {{\n\tchain {tap} {{\n\t}}\n}}\ndelete chain netdev {TABLE} {tap}\n")
}
