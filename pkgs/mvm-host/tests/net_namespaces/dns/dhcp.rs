//! A DHCP client (RFC 2131) of a machine that has no address yet.

use crate::support::NetThread;
use mvm_spec::net::MacAddr;
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(500);

pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const ACK: u8 = 5;

pub const ROUTER: u8 = 3;
pub const DNS: u8 = 6;
pub const HOST_NAME: u8 = 12;
pub const DOMAIN_NAME: u8 = 15;
pub const MTU: u8 = 26;
const REQUESTED: u8 = 50;
const TYPE: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub mac: MacAddr,
    pub address: Ipv4Addr,
    pub options: BTreeMap<u8, Vec<u8>>,
}

impl Answer {
    pub fn kind(&self) -> u8 {
        self.options[&TYPE][0]
    }
}

/// A client on the interface `eth0`. Which machine it speaks for is in each message.
pub struct Client {
    socket: UdpSocket,
}

impl Client {
    pub fn new(guest: &NetThread) -> Self {
        let socket = guest.call(|| {
            let socket = UdpSocket::bind("0.0.0.0:68").unwrap();
            setsockopt(&socket, sockopt::BindToDevice, &"eth0".into()).unwrap();
            socket
        });
        socket.set_broadcast(true).unwrap();
        Self { socket }
    }

    /// Asks for an address, and takes the one that is offered.
    pub fn lease(&self, mac: MacAddr) -> Answer {
        let offer = self.ask(mac, DISCOVER, &[], OFFER);
        let requested = offer.address.octets();
        let options = [(REQUESTED, &requested[..]), (SERVER, &offer.options[&SERVER]), (HOST_NAME, b"evil")];
        let answer = self.ask(mac, REQUEST, &options, ACK);
        assert_eq!(answer.address, offer.address);
        answer
    }

    /// Sends, again and again, until there is an answer of type `wanted` for this machine.
    pub fn ask(&self, mac: MacAddr, kind: u8, options: &[(u8, &[u8])], wanted: u8) -> Answer {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            self.send(mac, kind, options);
            let again = Instant::now() + AGAIN;
            while let Some(answer) = self.receive(again) {
                if answer.mac == mac && answer.kind() == wanted {
                    return answer;
                }
            }
        }
        panic!("no DHCP answer of type {wanted} for {mac}");
    }

    pub fn send(&self, mac: MacAddr, kind: u8, options: &[(u8, &[u8])]) {
        let mut message = vec![0; 236];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[4..8].copy_from_slice(&[9, 9, 9, mac.0[5]]);
        // "Broadcast": a socket of a machine without an address hears nothing else.
        message[10] = 0x80;
        message[28..34].copy_from_slice(&mac.0);
        message.extend([0x63, 0x82, 0x53, 0x63, TYPE, 1, kind]);
        message.extend([WANTED, 5, 1, ROUTER, DNS, DOMAIN_NAME, MTU]);
        for (option, data) in options {
            message.extend([*option, data.len() as u8]);
            message.extend(*data);
        }
        message.push(255);
        self.socket.send_to(&message, "255.255.255.255:67").unwrap();
    }

    /// The next answer, for whomever, if there is one until `end`.
    pub fn receive(&self, end: Instant) -> Option<Answer> {
        let left = end.saturating_duration_since(Instant::now());
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
        let mut message = [0; 2000];
        let length = self.socket.recv(&mut message).ok()?;
        let mut options = BTreeMap::new();
        let mut rest = &message[240..length];
        while let [option, length, data @ ..] = rest {
            if *option == 255 {
                break;
            }
            let (data, after) = data.split_at(usize::from(*length));
            options.insert(*option, data.to_vec());
            rest = after;
        }
        let address = <[u8; 4]>::try_from(&message[16..20]).unwrap().into();
        Some(Answer { mac: MacAddr(message[28..34].try_into().unwrap()), address, options })
    }
}
