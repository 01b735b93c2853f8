//! A guest without a machine: raw Ethernet frames through a tap's file.

use mvm_spec::net::MacAddr;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

const BROADCAST: MacAddr = MacAddr([0xff; 6]);
/// How long an answer may take before a test fails.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long to wait before asking again.
const AGAIN: Duration = Duration::from_millis(500);
/// `struct virtio_net_hdr` before each frame (IFF_VNET_HDR).
const HEADER: usize = 10;

pub struct Guest {
    pub tap: OwnedFd,
    pub mac: MacAddr,
    pub ip: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub gateway_mac: MacAddr,
}

impl Guest {
    /// A guest that has asked for its gateway's MAC address.
    pub fn boot(tap: OwnedFd, mac: MacAddr, ip: Ipv4Addr, gateway: Ipv4Addr) -> Self {
        let mut guest = Self { tap, mac, ip, gateway, gateway_mac: BROADCAST };
        guest.gateway_mac = guest.resolve(gateway);
        guest
    }

    /// Asks for the MAC address of `ip`.
    pub fn resolve(&self, ip: Ipv4Addr) -> MacAddr {
        let question = arp(self.mac, self.mac, self.ip, ip);
        self.ask(
            &format!("an ARP answer for {ip}"),
            || self.send(&question),
            |frame| {
                (frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && frame[28..32] == ip.octets())
                    .then(|| MacAddr(frame[22..28].try_into().unwrap()))
            },
        )
    }

    /// Sends, again and again as every protocol over Ethernet does (a port that has just come up takes no frames yet),
    /// until there is a frame that `wanted` takes.
    pub fn ask<T>(
        &self,
        what: &str,
        mut send: impl FnMut(),
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> T {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            send();
            let again = Instant::now() + AGAIN;
            while let Some(frame) = self.next(again) {
                if let Some(found) = wanted(&frame) {
                    return found;
                }
            }
        }
        panic!("asked in vain for {what}");
    }

    pub fn send(&self, frame: &[u8]) {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(frame);
        assert_eq!(nix::unistd::write(&self.tap, &bytes), Ok(bytes.len()));
    }

    /// Sends an IPv4 packet of this guest through the gateway.
    pub fn send_ip(&self, to: Ipv4Addr, protocol: u8, payload: &[u8]) {
        self.send(&ethernet(self.mac, self.gateway_mac, 0x0800, &ipv4(self.ip, to, protocol, payload)));
    }

    pub fn send_udp(&self, to: Ipv4Addr, port: u16, payload: &[u8]) {
        self.send_ip(to, 17, &udp(self.ip, to, 40000, port, payload));
    }

    /// Begins a TCP connection.
    pub fn send_syn(&self, from_port: u16, to: Ipv4Addr, port: u16) {
        self.send_ip(to, 6, &syn(self.ip, to, from_port, port));
    }

    pub fn send_ping(&self, to: Ipv4Addr) {
        self.send_ip(to, 1, &ping());
    }

    /// The first frame that `wanted` takes; answers ARP meanwhile.
    pub fn receive<T>(&self, what: &str, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            let frame = self.next(end).unwrap_or_else(|| panic!("waited in vain for {what}"));
            if let Some(found) = wanted(&frame) {
                return found;
            }
        }
    }

    /// Waits for the next answer to a SYN.
    pub fn receive_tcp(&self, what: &str) -> TcpAnswer {
        self.receive(what, tcp_answer)
    }

    /// The payload of the next UDP datagram from `from`.
    pub fn receive_udp(&self, what: &str, from: Ipv4Addr) -> Vec<u8> {
        self.receive(what, |frame| {
            (frame[12..14] == [8, 0] && frame[23] == 17 && frame[26..30] == from.octets())
                .then(|| frame[14 + usize::from(frame[14] & 15) * 4 + 8..].to_vec())
        })
    }

    fn next(&self, end: Instant) -> Option<Vec<u8>> {
        loop {
            let left = PollTimeout::try_from(end.saturating_duration_since(Instant::now())).unwrap();
            if poll(&mut [PollFd::new(self.tap.as_fd(), PollFlags::POLLIN)], left).unwrap() == 0 {
                return None;
            }
            let mut buffer = vec![0; 70000];
            let length = match nix::unistd::read(&self.tap, &mut buffer) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN) => continue,
                Err(error) => panic!("read from the tap: {error}"),
            };
            let frame = buffer[HEADER..length].to_vec();
            let asked_for_us =
                frame[12..14] == [8, 6] && frame[20..22] == [0, 1] && frame[38..42] == self.ip.octets();
            if asked_for_us {
                let sender = MacAddr(frame[22..28].try_into().unwrap());
                let address = Ipv4Addr::from(<[u8; 4]>::try_from(&frame[28..32]).unwrap());
                let mut answer = arp(self.mac, self.mac, self.ip, address);
                answer[..6].copy_from_slice(&sender.0);
                answer[21] = 2;
                answer[32..38].copy_from_slice(&sender.0);
                self.send(&answer);
                continue;
            }
            return Some(frame);
        }
    }
}

/// An answer to a SYN.
#[derive(Debug, PartialEq, Eq)]
pub struct TcpAnswer {
    pub by: Ipv4Addr,
    /// The port that the SYN came from.
    pub port: u16,
    /// Whether it was SYN and ACK.
    pub accepted: bool,
}

/// The TCP segment in `frame`, if it holds one.
pub fn tcp_answer(frame: &[u8]) -> Option<TcpAnswer> {
    (frame[12..14] == [8, 0] && frame[23] == 6).then(|| {
        let by = Ipv4Addr::from(<[u8; 4]>::try_from(&frame[26..30]).unwrap());
        let tcp = &frame[14 + usize::from(frame[14] & 15) * 4..];
        TcpAnswer { by, port: u16::from_be_bytes([tcp[2], tcp[3]]), accepted: tcp[13] & 0x12 == 0x12 }
    })
}

pub fn ethernet(from: MacAddr, to: MacAddr, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to.0[..], &from.0, &kind.to_be_bytes(), payload].concat()
}

/// An ARP request (RFC 826) in a frame from `frame_mac` that says `mac` has `ip`.
pub fn arp(frame_mac: MacAddr, mac: MacAddr, ip: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let body = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac.0, &ip.octets(), &[0; 6], &target.octets()].concat();
    ethernet(frame_mac, BROADCAST, 0x0806, &body)
}

pub fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut header = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 1, 0, 0, 64, protocol, 0, 0]].concat();
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header, payload].concat()
}

pub fn udp(from: Ipv4Addr, to: Ipv4Addr, from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = [from_port, to_port, length, 0].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    let sum = transport_checksum(from, to, 17, &datagram);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn syn(from: Ipv4Addr, to: Ipv4Addr, from_port: u16, to_port: u16) -> Vec<u8> {
    let mut segment = [from_port, to_port].map(u16::to_be_bytes).concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 5, 0xb4]);
    let sum = transport_checksum(from, to, 6, &segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

pub fn ping() -> Vec<u8> {
    let mut echo = vec![8, 0, 0, 0, 0, 7, 0, 1];
    let sum = checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    echo
}

fn transport_checksum(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    let length = (segment.len() as u16).to_be_bytes();
    checksum(&[&from.octets()[..], &to.octets(), &[0, protocol], &length, segment].concat())
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
