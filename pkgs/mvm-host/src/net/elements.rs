//! Elements of the nft maps of forwards, changed by netlink: what `nft -f` would do, without starting a program and
//! having it read all tables first, so that one more forward costs the kernel's own time.
//!
//! Each element is a key and where it leads, concatenated, every part padded to four bytes as nft does it.

use super::nfnetlink::{Attributes, Batch, NFTABLES, messages};
use super::ruleset::{NatForward, TABLE};
use crate::{Error, Result};
use mvm_spec::forward::Protocol;
use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::sys::{Socket, SocketAddr, protocols};
use std::io;

/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END`: what is between them happens whole or not at all.
const BATCH: (u16, u16) = (0x10, 0x11);
/// `NFT_MSG_NEWSETELEM`, `NFT_MSG_DELSETELEM`.
const ADD: u8 = 12;
const DELETE: u8 = 14;
/// `NLMSG_ERROR`: an error, or with 0 an acknowledgement.
const ANSWER: u16 = 2;
/// `NLM_F_REQUEST`, `NLM_F_ACK`, `NLM_F_CREATE`.
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const CREATE: u16 = 0x400;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// `enum nft_set_elem_list_attributes`, `nft_list_attributes`, `nft_set_elem_attributes`, `nft_data_attributes`.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
/// How many elements a message has room for: 65,531 bytes of at most 56 each.
const MESSAGE_ELEMENTS: usize = 1_000;
/// Bytes a message with that many may take in the socket's buffer, with the kernel's bookkeeping.
const MESSAGE_ROOM: usize = 128 * 1024;

/// Removes and adds elements, all of it or nothing, in the network namespace of the calling thread, which needs
/// CAP_NET_ADMIN over it. What is there already, and what is gone already, is success.
///
/// Errors: the maps are not there; a key that is to be added leads elsewhere.
pub fn change(remove: &[NatForward], add: &[NatForward]) -> Result<()> {
    if remove.is_empty() && add.is_empty() {
        return Ok(());
    }
    transact(&batch(remove, add)).map_err(|error| {
        let hint = match error.raw_os_error() {
            Some(libc::ENOENT) => " (the maps are gone: somebody removed the rules)",
            Some(libc::EEXIST | libc::EBUSY) => {
                " (a port is in use otherwise: `mvm-ports sync` puts that right)"
            }
            Some(libc::EPERM) => " (this needs root)",
            _ => "",
        };
        Error::Failed(format!("changing the forwards in the nft table `inet {TABLE}` failed: {error}{hint}"))
    })
}

/// The transaction. What goes is added first, which is nothing if it is there: the kernel refuses to remove what is
/// absent.
fn batch(remove: &[NatForward], add: &[NatForward]) -> Batch {
    let mut batch = Batch::default();
    let subsystem = u16::from(NFTABLES);
    batch.message(BATCH.0, REQUEST, 0, subsystem, |_| {});
    let parts: [(u8, &[NatForward]); 3] = [(ADD, remove), (DELETE, remove), (ADD, add)];
    for (verb, forwards) in parts {
        for (map, any) in [("forwards", true), ("forwards-at", false)] {
            let of_map: Vec<&NatForward> =
                forwards.iter().filter(|forward| forward.address.is_unspecified() == any).collect();
            for some in of_map.chunks(MESSAGE_ELEMENTS) {
                let kind = subsystem << 8 | u16::from(verb);
                let create = if verb == ADD { CREATE } else { 0 };
                batch.message(kind, REQUEST | ACKNOWLEDGE | create, INET, 0, |message| {
                    message.text(LIST_TABLE, TABLE);
                    message.text(LIST_SET, map);
                    message.nested(LIST_ELEMENTS, |list| {
                        some.iter().for_each(|forward| element(list, forward, any, verb == ADD));
                    });
                });
            }
        }
    }
    batch.message(BATCH.1, REQUEST, 0, subsystem, |_| {});
    batch
}

fn element(list: &mut Attributes<'_>, forward: &NatForward, any: bool, with_data: bool) {
    let NatForward { proto, address, host, to, guest } = forward;
    let protocol = match proto {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    let port = |port: &u16| (u32::from(*port) << 16).to_be_bytes();
    // One byte, and padding: the lowest one in network order would be the highest.
    let mut key = protocol.to_le_bytes().to_vec();
    key.extend(port(host));
    if !any {
        key.splice(0..0, address.octets());
    }
    let data = [to.octets(), port(guest)].concat();
    list.nested(ELEMENT, |element| {
        element.nested(ELEMENT_KEY, |value| value.value(DATA_VALUE, &key));
        if with_data {
            element.nested(ELEMENT_DATA, |value| value.value(DATA_VALUE, &data));
        }
    });
}

/// Sends a transaction and reads the answers, one for each message but the first and last. The kernel has done its work
/// and answered when sending returns.
fn transact(batch: &Batch) -> io::Result<()> {
    let socket = Socket::new(protocols::NETLINK_NETFILTER)?;
    let expected = usize::try_from(batch.messages().saturating_sub(2)).unwrap_or(usize::MAX);
    let room = expected.saturating_mul(MESSAGE_ROOM);
    // Small changes fit; what can't be had by force may fit, too.
    if expected > 1 {
        let _ = setsockopt(&socket, sockopt::SndBufForce, &room);
    }
    socket.set_cap_ack(true)?;
    socket.send_to(batch.bytes(), &SocketAddr::new(0, 0), 0)?;
    let mut answered = 0;
    while answered < expected {
        let (datagram, _) = socket.recv_from_full()?;
        for (kind, _, body) in messages(&datagram) {
            let (ANSWER, Some(code)) = (kind, body.first_chunk()) else { continue };
            match i32::from_ne_bytes(*code) {
                0 => answered += 1,
                code => return Err(io::Error::from_raw_os_error(-code)),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::nfnetlink::{FAMILY, attributes};
    use super::*;
    use std::net::Ipv4Addr;

    fn forward(address: [u8; 4], host: u16) -> NatForward {
        let to = Ipv4Addr::new(192, 168, 100, 10);
        NatForward { proto: Protocol::Udp, address: address.into(), host, to, guest: 80 }
    }

    #[test]
    fn what_goes_is_added_first_so_that_it_may_be_absent() {
        let batch = batch(&[forward([0; 4], 53)], &[forward([10, 0, 0, 1], 8080)]);
        let read: Vec<_> = messages(batch.bytes()).collect();
        let kinds: Vec<u16> = read.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [0x10, 0x0a0c, 0x0a0e, 0x0a0c, 0x11]);
        let sets: Vec<&[u8]> = read[1..4]
            .iter()
            .map(|(_, _, body)| attributes(&body[FAMILY..]).find(|(kind, _)| *kind == LIST_SET).unwrap().1)
            .collect();
        assert_eq!(sets, [&b"forwards\0"[..], b"forwards\0", b"forwards-at\0"]);
    }

    #[test]
    fn keys_and_values_are_padded_part_by_part() {
        let batch = batch(&[], &[forward([10, 0, 0, 1], 0x1f90)]);
        let body = messages(batch.bytes()).nth(1).unwrap().2;
        let list = attributes(&body[FAMILY..]).find(|(kind, _)| *kind == LIST_ELEMENTS).unwrap().1;
        let element: Vec<_> = attributes(attributes(list).next().unwrap().1).collect();
        let value = |at: usize| attributes(element[at].1).next().unwrap().1;
        assert_eq!(value(0), [10, 0, 0, 1, 17, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(value(1), [192, 168, 100, 10, 0, 80, 0, 0]);
    }

    #[test]
    fn ten_thousand_elements_are_one_transaction_of_whole_messages() {
        let many: Vec<NatForward> = (1..=10_000).map(|port| forward([0; 4], port)).collect();
        let batch = batch(&[], &many);
        let elements = messages(batch.bytes()).filter(|(kind, ..)| *kind == 0x0a0c).map(|(_, _, body)| {
            attributes(attributes(&body[FAMILY..]).find(|(kind, _)| *kind == LIST_ELEMENTS).unwrap().1)
                .count()
        });
        assert_eq!(elements.sum::<usize>(), 10_000);
        assert_eq!(messages(batch.bytes()).last().unwrap().0, 0x11);
    }
}
