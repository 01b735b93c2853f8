//! Addresses, questions and frames: what an agent is told to send for a cell.

use crate::cells::{ECHO, HOST_ECHO, LOOPBACK_ECHO, Place, Stage, asked_for, how, place};
use crate::table::{Cell, End, Manner, Protocol};
use crate::vms::PORT;
use crate::world::{HOST, HOST_LAN, HOST_LINK_LOCAL, INTERNET, LAN, LAN_IPV6, LISTED, METADATA};
use serde_json::{Value, json};

/// Multicast to somewhere that nobody has joined.
const GROUP: &str = "239.255.42.99";

impl Stage<'_> {
    /// Address and port that a kernel is told to reach.
    pub fn target(&self, cell: Cell) -> (String, u16) {
        let outside = matches!(cell.from, End::Host | End::HostOtherAddress | End::Lan | End::Internet);
        // The host as those outside know it; itself, by any of its addresses.
        let host = match cell.from {
            End::Lan | End::HostOtherAddress => HOST_LAN,
            _ => HOST,
        };
        let (address, port) = match (cell.manner, cell.to) {
            (Manner::Forward | Manner::Hairpin, _) => (host, forward(cell)),
            (Manner::Large, End::Vm) if outside => (host, forward(cell)),
            (Manner::GatewayHairpin, _) => (self.gateway(), forward(cell)),
            (Manner::LoopbackForward, _) if cell.from == End::Host => ("127.0.0.1", loopback_forward(cell)),
            (Manner::LoopbackForward, _) => (host, loopback_forward(cell)),
            (Manner::Plain | Manner::Large, to) => match to {
                End::Gateway => (self.gateway(), HOST_ECHO),
                End::Host => (HOST, HOST_ECHO),
                End::HostOtherAddress => (HOST_LAN, HOST_ECHO),
                End::HostLinkLocal => (HOST_LINK_LOCAL, HOST_ECHO),
                End::HostLoopback => ("127.0.0.1", LOOPBACK_ECHO),
                End::Uplink => ("192.0.0.1", LOOPBACK_ECHO),
                End::Metadata => (METADATA, ECHO),
                End::Lan => (LAN, ECHO),
                End::Internet => (INTERNET, ECHO),
                End::ListedName => (LISTED, ECHO),
                End::Multicast => (GROUP, ECHO),
                vm => (self.vm(vm).address.as_str(), PORT),
            },
            _ => panic!("{cell:?}: nobody knows how"),
        };
        (address.to_owned(), port)
    }

    /// A DNS question. Names of the internet's begin with the nonce, so that no cache answers and the server knows them
    /// again.
    pub fn question(&self, cell: Cell, nonce: &str) -> Value {
        let server = match cell.manner {
            Manner::Direct => INTERNET,
            _ => self.gateway(),
        };
        let name = match cell.to {
            End::Gateway => format!("{}.mvm", self.vms[asked_for(cell)].name),
            End::ListedName => format!("{nonce}.listed.test"),
            End::Internet => format!("{nonce}.plain.test"),
            _ => panic!("{cell:?}: which name?"),
        };
        json!({"how": "dns", "to": server, "name": name})
    }

    /// Frames by hand.
    pub fn frame(&self, cell: Cell) -> Value {
        let own = match place(cell.from) {
            Place::Vm(index) => Some(&self.vms[index]),
            _ => None,
        };
        let router = match cell.from {
            End::Lan => self.world.mac_of("lan0"),
            End::Internet => self.world.mac_of("wan0"),
            _ => self.gateway_mac.clone(),
        };
        // Whose address is taken: from outside and by a stranger that of a peer, else that of the stranger.
        let victim = &self.vms[if cell.from == End::Vm { 1 } else { 2 }];
        let source = own.map(|vm| vm.address.clone());
        let (to, port) = self.target(Cell { manner: Manner::Plain, ..cell });
        let transport = |kind: Protocol| json!({"how": "frames", "frame": how(kind), "to": to, "port": port});
        let ip = matches!(cell.protocol, Protocol::Icmp | Protocol::Tcp | Protocol::Udp);
        let mut frame = match (cell.protocol, cell.manner) {
            (protocol, Manner::SpoofedIp) if ip => {
                let mut frame = transport(protocol);
                frame["source"] = json!(victim.address);
                frame["target_mac"] = json!(router);
                return frame;
            }
            (protocol, Manner::SpoofedMac) if ip => {
                let mut frame = transport(protocol);
                frame["source_mac"] = json!(victim.mac);
                frame["target_mac"] = json!(router);
                frame
            }
            (protocol, Manner::StaticRoute) if ip => {
                let mut frame = transport(protocol);
                frame["target_mac"] = json!(self.vm(cell.to).mac);
                frame
            }
            (protocol, Manner::GatewayRoute) if ip => {
                let mut frame = transport(protocol);
                frame["target_mac"] = json!(router);
                frame
            }
            (Protocol::Udp, Manner::Fragmented) => {
                let mut frame = transport(Protocol::Udp);
                frame["frame"] = json!("fragmented");
                frame["target_mac"] = json!(router);
                frame
            }
            (Protocol::Arp, Manner::ArpPoison) => {
                // Takes the gateway's address before a VM, a VM's before the gateway.
                let (taken, target_mac) = match cell.to {
                    End::Gateway => (victim.address.as_str(), self.gateway_mac.as_str()),
                    _ => (self.gateway(), "ff:ff:ff:ff:ff:ff"),
                };
                return json!({"how": "frames", "frame": "arp", "to": to, "source": taken, "target_mac": target_mac});
            }
            (Protocol::Dhcp, Manner::RogueDhcp) => json!({"how": "frames", "frame": "rogue-dhcp", "to": to}),
            (Protocol::Ipv6, Manner::RogueRa) => {
                return json!({"how": "frames", "frame": "rogue-ra", "to": to});
            }
            (Protocol::Ipv6, manner) => {
                let (to, mac) = match manner {
                    Manner::Plain => ("ff02::1".to_owned(), "33:33:00:00:00:01"),
                    Manner::GatewayRoute => (LAN_IPV6.to_owned(), self.gateway_mac.as_str()),
                    Manner::StaticRoute if cell.to == End::Gateway => {
                        (link_local(&self.gateway_mac), self.gateway_mac.as_str())
                    }
                    Manner::StaticRoute => (link_local(&self.vm(cell.to).mac), self.vm(cell.to).mac.as_str()),
                    _ => panic!("{cell:?}: nobody knows how"),
                };
                let own = link_local(&own.unwrap().mac);
                return json!({"how": "frames", "frame": "ipv6", "to": to, "source": own, "target_mac": mac});
            }
            _ => panic!("{cell:?}: nobody knows how"),
        };
        frame["source"] = json!(source);
        frame
    }
}

/// The port of [`VMS`] that is forwarded on all addresses.
fn forward(cell: Cell) -> u16 {
    match cell.to {
        End::Vm => 8080,
        End::OtherVm => 8090,
        End::SealedVm => 8110,
        _ => panic!("{cell:?}: it has no forward"),
    }
}

/// The port of [`VMS`] that is forwarded without an address.
pub fn loopback_forward(cell: Cell) -> u16 {
    match cell.to {
        End::Vm => 8081,
        _ => panic!("{cell:?}: it has no such forward"),
    }
}

/// The address that an interface gives itself (RFC 4291, appendix A).
fn link_local(mac: &str) -> String {
    let bytes: Vec<u8> = mac.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let [a, b, c, d, e, f] = bytes[..] else { panic!("{mac} is no MAC address") };
    format!("fe80::{:02x}{b:02x}:{c:02x}ff:fe{d:02x}:{e:02x}{f:02x}", a ^ 2)
}
