//! `tests/network/matrix.toml`: who reaches whom.

use serde::Deserialize;
use std::collections::HashSet;

const TEXT: &str = include_str!("../../../../tests/network/matrix.toml");

/// Who begins, or who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// A VM.
    Vm,
    /// Another, peer of none.
    OtherVm,
    /// Another, peer of the first.
    PeerVm,
    /// One that may reach nothing outside.
    SealedVm,
    /// One with a list of what it may reach.
    ListedVm,
    /// What that list names.
    ListedName,
    /// The guests' gateway.
    Gateway,
    /// The host, by the address of its uplink.
    Host,
    /// The host, by the address on its LAN.
    HostOtherAddress,
    /// The host's loopback.
    HostLoopback,
    /// A link-local address of the host.
    HostLinkLocal,
    /// The far end of the user realm's uplink.
    Uplink,
    /// A cloud's metadata service.
    Metadata,
    /// A machine of the host's LAN.
    Lan,
    /// A machine far away.
    Internet,
    /// A multicast group.
    Multicast,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Echo request and reply.
    Icmp,
    /// A connection and an echo.
    Tcp,
    /// A datagram and its echo.
    Udp,
    /// A question for an address.
    Dns,
    /// A question for an address of one's own.
    Dhcp,
    /// Any of it over IPv6.
    Ipv6,
    /// Who has an address.
    Arp,
}

/// By which way, or trick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manner {
    /// As every program does.
    Plain,
    /// Asking a name server of the internet's, not the guests' own.
    Direct,
    /// By a port of the host that is forwarded on all addresses.
    Forward,
    /// By a port of the host that is forwarded on its loopback.
    LoopbackForward,
    /// From a VM by the host's address and a forwarded port.
    Hairpin,
    /// From a VM by the gateway's address and a forwarded port.
    GatewayHairpin,
    /// With another's IP address as the source.
    SpoofedIp,
    /// With another's MAC address as the source.
    SpoofedMac,
    /// Saying that somebody else's IP address is at one's own MAC address.
    ArpPoison,
    /// A frame straight to the target's MAC address.
    StaticRoute,
    /// A frame to the gateway's MAC address, for the target's IP address.
    GatewayRoute,
    /// Playing the DHCP server.
    RogueDhcp,
    /// Playing the IPv6 router.
    RogueRa,
    /// With 9,000 bytes.
    Large,
    /// In fragments made by hand.
    Fragmented,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// The right answer comes back.
    Reaches,
    /// No answer, and the receiver gets nothing.
    Blocked,
    /// An error comes back at once.
    Refused,
}

/// Cells that differ in their protocol only.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Row {
    /// Who begins.
    pub from: End,
    /// Who is meant.
    pub to: End,
    /// What is spoken.
    pub protocols: Vec<Protocol>,
    /// By which way.
    pub manner: Manner,
    /// What comes of it.
    pub expect: Expect,
    /// What comes of it in the host realm, if something else.
    pub host_realm: Option<Expect>,
    /// The reason, for readers.
    pub why: String,
}

/// A question with one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Who begins.
    pub from: End,
    /// Who is meant.
    pub to: End,
    /// What is spoken.
    pub protocol: Protocol,
    /// By which way.
    pub manner: Manner,
}

/// The table's rows.
pub fn rows() -> Vec<Row> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Table {
        cells: Vec<Row>,
    }
    toml::from_str::<Table>(TEXT).unwrap_or_else(|error| panic!("tests/network/matrix.toml: {error}")).cells
}

impl Row {
    /// Its cells.
    pub fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        let Self { from, to, manner, .. } = *self;
        self.protocols.iter().map(move |protocol| Cell { from, to, protocol: *protocol, manner })
    }

    /// What comes of it in the host realm or a user realm.
    pub fn expect_in(&self, host_realm: bool) -> Expect {
        self.host_realm.filter(|_| host_realm).unwrap_or(self.expect)
    }
}

/// A word of the table, as it stands there.
pub fn word(value: &impl std::fmt::Debug) -> String {
    let mut word = String::new();
    for letter in format!("{value:?}").chars() {
        if letter.is_ascii_uppercase() && !word.is_empty() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

#[test]
fn each_cell_of_the_table_stands_there_once() {
    let mut seen = HashSet::new();
    for row in rows() {
        assert!(!row.why.is_empty(), "{row:?}");
        assert_ne!(row.host_realm, Some(row.expect), "{row:?}: says the same twice");
        for cell in row.cells() {
            assert!(seen.insert(cell), "{cell:?} is there twice");
        }
    }
    assert!(seen.len() > 100, "{} cells", seen.len());
}
