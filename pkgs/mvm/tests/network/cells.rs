//! What each word of the table stands for: an attempt by one agent, and who must (or must not) receive it. What is sent
//! is in [`crate::sent`].

use crate::agent::Agent;
use crate::sent::loopback_forward;
use crate::table::{Cell, End, Manner, Protocol};
use crate::vms::{PORT, Vm};
use crate::world::{HOST_LAN, HOST_LINK_LOCAL, INTERNET, LAN, LAN_IPV6, LISTED, METADATA, Mode, World};
use serde_json::{Value, json};

/// Where agents other than guests' echo.
pub const ECHO: u16 = 7;
/// Where the host echoes, on all addresses.
pub const HOST_ECHO: u16 = 7000;
/// Where the host echoes on its loopback.
pub const LOOPBACK_ECHO: u16 = 7001;

/// The VMs of the matrix, in the order of [`Stage::vms`]: names, and options of `mvm create`.
pub const VMS: [&str; 5] = [
    "a --port 0.0.0.0:8080:3000 --port 0.0.0.0:8080:3000/udp --port 8081:3000 --port 8081:3000/udp",
    "b --port 0.0.0.0:8090:3000 --port 0.0.0.0:8090:3000/udp",
    "c --peer a",
    "d --egress none --port 0.0.0.0:8110:3000",
    "e --allow listed.test --allow 10.50.0.0/28",
];

/// All that the cells are about.
pub struct Stage<'a> {
    /// The namespaces.
    pub world: &'a World,
    /// The VMs of [`VMS`].
    pub vms: &'a [Vm],
    /// In the namespace of the bridge, where that is not the host's.
    pub realm: Option<&'a Agent>,
    /// The bridge's MAC address.
    pub gateway_mac: String,
}

/// A place that receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A VM, by its place in the list.
    Vm(usize),
    /// The host.
    Host,
    /// The namespace of the bridge; in the host realm the host's.
    Gateway,
    /// The LAN.
    Lan,
    /// The internet.
    Internet,
}

/// What counts as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// What comes in by an interface.
    Frame,
    /// What is delivered, past all rules.
    Local,
}

/// An attempt.
pub struct Attempt {
    /// Who makes it.
    pub by: Place,
    /// How, for the agent.
    pub probe: Value,
    /// Where it is looked for.
    pub receivers: Vec<(Place, Layer)>,
    /// The content of the right answer, if there is more to it than an echo.
    pub answer: Option<Value>,
    /// Whether an answer says something: a broadcast may be answered by somebody else than who is meant.
    pub answers_count: bool,
}

impl Stage<'_> {
    /// The agent of a place.
    pub fn agent(&self, place: Place) -> &Agent {
        match place {
            Place::Vm(index) => &self.vms[index].agent,
            Place::Host => &self.world.host,
            Place::Gateway => self.realm.unwrap_or(&self.world.host),
            Place::Lan => &self.world.lan,
            Place::Internet => &self.world.internet,
        }
    }

    /// The bridge's address.
    pub fn gateway(&self) -> &str {
        &self.vms[0].gateway
    }

    /// The attempt that a cell stands for; one that no word is meant for is a mistake in the table.
    pub fn attempt(&self, cell: Cell, nonce: &str) -> Attempt {
        let by = place(cell.from);
        let mut probe = match (cell.protocol, cell.manner) {
            (Protocol::Dns, Manner::Plain | Manner::Direct) => self.question(cell, nonce),
            (Protocol::Dhcp, Manner::Plain) => json!({"how": "dhcp"}),
            (Protocol::Ipv6, Manner::LoopbackForward) => {
                json!({"how": "tcp", "to": "::1", "port": loopback_forward(cell)})
            }
            (Protocol::Icmp | Protocol::Tcp | Protocol::Udp, manner) if !by_hand(manner) => {
                let (to, port) = self.target(cell);
                json!({"how": how(cell.protocol), "to": to, "port": port})
            }
            _ => self.frame(cell),
        };
        probe["nonce"] = json!(nonce);
        if cell.manner == Manner::Large {
            probe["size"] = json!(9000);
        }
        if cell.from == End::HostOtherAddress {
            probe["source"] = json!(HOST_LAN);
        }
        let answer = match (cell.protocol, cell.to, by) {
            (Protocol::Dhcp, _, Place::Vm(index)) => Some(json!(self.vms[index].address)),
            (Protocol::Dns, End::Gateway, _) => Some(json!(self.vms[asked_for(cell)].address)),
            (Protocol::Dns, End::ListedName, _) => Some(json!(LISTED)),
            (Protocol::Dns, _, _) => Some(json!(INTERNET)),
            _ => None,
        };
        let broadcast = cell.protocol == Protocol::Dhcp && cell.to != End::Gateway;
        Attempt {
            by,
            probe,
            receivers: self.receivers(cell),
            answer,
            // Of a frame by hand an error message would pass for an answer: who is meant knows better.
            answers_count: !broadcast && !by_hand(cell.manner),
        }
    }

    /// Where a cell's nonce shows that it arrived; nowhere for questions that the gateway's services answer themselves.
    fn receivers(&self, cell: Cell) -> Vec<(Place, Layer)> {
        if matches!((cell.protocol, cell.to), (Protocol::Dns | Protocol::Dhcp, End::Gateway))
            && cell.manner == Manner::Plain
        {
            return Vec::new();
        }
        // What a tap must not let through does not get as far as the bridge, either.
        let foreign = matches!(cell.protocol, Protocol::Arp | Protocol::Ipv6 | Protocol::Dhcp)
            || matches!(cell.manner, Manner::SpoofedIp | Manner::SpoofedMac);
        let gateway = if foreign { Layer::Frame } else { Layer::Local };
        match cell.to {
            End::Vm | End::OtherVm | End::PeerVm | End::SealedVm | End::ListedVm => {
                vec![(place(cell.to), Layer::Frame)]
            }
            End::Gateway => vec![(Place::Gateway, gateway)],
            End::Host | End::HostOtherAddress | End::HostLinkLocal | End::Uplink => {
                vec![(Place::Host, Layer::Local)]
            }
            End::HostLoopback => vec![(Place::Host, Layer::Local), (Place::Gateway, Layer::Local)],
            End::Metadata => vec![(Place::Internet, Layer::Frame), (Place::Host, Layer::Local)],
            End::ListedName | End::Internet => vec![(Place::Internet, Layer::Frame)],
            End::Lan => vec![(Place::Lan, Layer::Frame)],
            End::Multicast => vec![
                (Place::Vm(1), Layer::Frame),
                (Place::Lan, Layer::Frame),
                (Place::Internet, Layer::Frame),
                (Place::Host, Layer::Local),
                (Place::Gateway, Layer::Local),
            ],
        }
    }

    /// The VM that a word stands for.
    pub fn vm(&self, end: End) -> &Vm {
        match place(end) {
            Place::Vm(index) => &self.vms[index],
            _ => panic!("{end:?} is no VM"),
        }
    }

    /// Attempts that must succeed so that what is received nowhere is known to be blocked: by each who receives, and who.
    pub fn controls(&self) -> Vec<(Place, Place, Layer, Value)> {
        let mut controls = Vec::new();
        for kind in ["icmp", "tcp", "udp"] {
            for (index, vm) in self.vms.iter().enumerate() {
                let probe = json!({"how": kind, "to": vm.address, "port": PORT});
                controls.push((Place::Gateway, Place::Vm(index), Layer::Frame, probe));
            }
            let probe = json!({"how": kind, "to": HOST_LAN, "port": HOST_ECHO});
            controls.push((Place::Lan, Place::Host, Layer::Local, probe));
            let probe = json!({"how": kind, "to": self.gateway(), "port": HOST_ECHO});
            controls.push((Place::Gateway, Place::Gateway, Layer::Local, probe));
            for address in [METADATA, LISTED] {
                let probe = json!({"how": kind, "to": address, "port": ECHO});
                controls.push((Place::Host, Place::Internet, Layer::Frame, probe));
            }
            let probe = json!({"how": kind, "to": HOST_LINK_LOCAL, "port": HOST_ECHO});
            controls.push((Place::Host, Place::Host, Layer::Local, probe));
            let probe = json!({"how": kind, "to": LAN, "port": ECHO});
            controls.push((Place::Host, Place::Lan, Layer::Frame, probe));
        }
        controls.push((Place::Host, Place::Lan, Layer::Frame, json!({"how": "icmp6", "to": LAN_IPV6})));
        controls.push((Place::Lan, Place::Host, Layer::Local, json!({"how": "icmp6", "to": "fd00:50::1"})));
        // A frame on the bridge, past a tap's rules.
        let name = json!({"how": "dns", "to": self.gateway()});
        controls.push((Place::Vm(0), Place::Gateway, Layer::Frame, name));
        controls
    }

    /// Whether the bridge is the host's.
    pub fn host_realm(&self) -> bool {
        self.world.mode == Mode::Host
    }
}

/// Where a word's agent is.
pub fn place(end: End) -> Place {
    match end {
        End::Vm => Place::Vm(0),
        End::OtherVm => Place::Vm(1),
        End::PeerVm => Place::Vm(2),
        End::SealedVm => Place::Vm(3),
        End::ListedVm => Place::Vm(4),
        End::Gateway => Place::Gateway,
        End::Lan => Place::Lan,
        End::Internet | End::ListedName | End::Metadata | End::Multicast => Place::Internet,
        End::Host | End::HostOtherAddress | End::HostLoopback | End::HostLinkLocal | End::Uplink => {
            Place::Host
        }
    }
}

/// Which VM's name is asked for: another's.
pub fn asked_for(cell: Cell) -> usize {
    usize::from(cell.from == End::Vm)
}

fn by_hand(manner: Manner) -> bool {
    match manner {
        Manner::Plain
        | Manner::Direct
        | Manner::Forward
        | Manner::LoopbackForward
        | Manner::Hairpin
        | Manner::GatewayHairpin
        | Manner::Large => false,
        Manner::SpoofedIp
        | Manner::SpoofedMac
        | Manner::ArpPoison
        | Manner::StaticRoute
        | Manner::GatewayRoute
        | Manner::RogueDhcp
        | Manner::RogueRa
        | Manner::Fragmented => true,
    }
}

/// What an agent calls a protocol.
pub fn how(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Icmp => "icmp",
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Dns => "dns",
        Protocol::Dhcp => "dhcp",
        Protocol::Ipv6 => "ipv6",
        Protocol::Arp => "arp",
    }
}
