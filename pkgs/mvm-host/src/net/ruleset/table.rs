//! The frame of the `inet` table: sets and maps, still empty, and the chains that ask them.

use super::{HostService, TABLE};

/// Where no guest may send, whoever routes there: this network, loopback, link-local with the metadata services of
/// clouds, multicast, broadcast (RFC 6890).
pub const NEVER: &str = "{ 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 224.0.0.0/4, 255.255.255.255 }";

/// Text that replaces the `inet` table by one without bridges, guests or a way out.
pub fn render(services: &[HostService]) -> String {
    let mut open = String::new();
    for service in services {
        open.push_str(match service {
            HostService::Dns => {
                "\t\tmeta l4proto { tcp, udp } ip saddr . ip daddr . th dport @dns accept comment \"DNS\"\n"
            }
            HostService::Dhcp => {
                "\t\tudp sport 68 udp dport 67 ip daddr 255.255.255.255 accept comment \"DHCP\"\n\
                 \t\tudp sport 68 udp dport 67 ip daddr @gateways accept comment \"DHCP renewal\"\n"
            }
        });
    }
    format!(
        r#"# {TABLE}: replaced as a whole; foreign tables are never touched.
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
	set bridges {{
		type ifname
	}}

	set gateways {{
		type ipv4_addr
	}}

	set guests {{
		type ipv4_addr
	}}

	# Addresses of the host: kept up to date while VMs run.
	set host-addresses {{
		type ipv4_addr
	}}

	# Both directions of each pair.
	set peers {{
		type ipv4_addr . ipv4_addr
	}}

	# Guest, its gateway, the port that answers it.
	set dns {{
		type ipv4_addr . ipv4_addr . inet_service
	}}

	# Guests with a resolver of their own.
	map resolvers {{
		type ipv4_addr : inet_service
	}}

	# Guests with an egress policy.
	map restricted {{
		type ipv4_addr : verdict
	}}

	map forwards {{
		type inet_proto . inet_service : ipv4_addr . inet_service
	}}

	map forwards-at {{
		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
	}}

	# What was refused, by guest.
	set refused-guests {{
		type ipv4_addr
		size 65535
		flags dynamic
		counter
	}}

	set refused-host {{
		type ipv4_addr
		size 65535
		flags dynamic
		counter
	}}

	set refused-outside {{
		type ipv4_addr
		size 65535
		flags dynamic
		counter
	}}

	# The drop is a rule of its own: where a set is full, `update` ends its rule.
	chain refuse-guests {{
		update @refused-guests {{ ip saddr counter }}
		drop
	}}

	chain refuse-host {{
		update @refused-host {{ ip saddr counter }}
		drop
	}}

	chain refuse-outside {{
		update @refused-outside {{ ip saddr counter }}
		drop
	}}

	chain input {{
		type filter hook input priority filter; policy accept;
		iifname @bridges goto from-guest
		# An address is reached by whichever interface, and what listens on it is for guests and the host alone.
		iifname != "lo" ip daddr @gateways counter drop comment "outside to gateway"
	}}

	# Guest to the namespace the bridge is in, by whichever of its addresses.
	chain from-guest {{
		meta nfproto != ipv4 counter drop comment "IPv6 is off"
		ct state established accept
		ct state related meta l4proto icmp accept
{open}		counter goto refuse-host comment "guest to host"
	}}

	chain forward {{
		type filter hook forward priority filter; policy accept;
		iifname @bridges goto leaving
		oifname @bridges goto to-guest
	}}

	# Asked for each packet, also of connections that exist: each set is looked up once.
	chain leaving {{
		oifname @bridges goto between-guests
		goto outbound
	}}

	chain between-guests {{
		meta nfproto != ipv4 counter drop comment "IPv6 is off"
		ct state invalid counter drop
		# A forward of whoever's joins no two guests, not even peers: they have each other's addresses.
		ct direction original ct status dnat counter goto refuse-guests comment "a forward between guests"
		ip saddr . ip daddr @peers accept
		counter goto refuse-guests comment "guest to guest"
	}}

	chain to-guest {{
		meta nfproto != ipv4 counter drop comment "IPv6 is off"
		ct state established accept
		ct state related meta l4proto icmp accept
		ct status dnat accept comment "forwards"
		counter drop comment "outside to guest"
	}}

	chain outbound {{
		meta nfproto != ipv4 counter drop comment "IPv6 is off"
		ct state invalid counter drop
		ip saddr != @guests counter drop comment "no guest's address"
		ip daddr {NEVER} counter goto refuse-outside comment "loopback, link-local and metadata, multicast"
		ct direction original ct status dnat counter goto refuse-host comment "a foreign forward"
		ip daddr @host-addresses counter goto refuse-host comment "the host by its other names"
		# Answers to those who came by a forward, whatever the policy.
		ct state established accept
		ct state related meta l4proto icmp accept
		ip saddr vmap @restricted
		goto way-out
	}}

	chain way-out {{
	}}

	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		iifname @bridges goto from-guest-nat
		iifname "lo" return
		ip daddr != 127.0.0.0/8 fib daddr type local goto from-outside-nat
	}}

	chain from-guest-nat {{
		meta l4proto {{ tcp, udp }} th dport 53 redirect to :ip saddr map @resolvers
	}}

	chain from-outside-nat {{
		dnat ip to ip daddr . meta l4proto . th dport map @forwards-at
		dnat ip to meta l4proto . th dport map @forwards
	}}

	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr @guests oifname != @bridges masquerade
	}}
}}
"#
    )
}
