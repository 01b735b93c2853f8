//! The number of the nft ruleset's generation: each transaction in a network namespace makes the next
//! (net/netfilter/nf_tables_api.c, `nf_tables_commit`).

use super::nfnetlink::{Batch, FAMILY, NFTABLES, attributes, messages};
use rtnetlink::sys::{Socket, SocketAddr, protocols};
use std::io;

/// `NFT_MSG_NEWGEN`, `NFT_MSG_GETGEN`.
const NEW: u8 = 15;
const GET: u8 = 16;
/// `NFTA_GEN_ID`.
const ID: u16 = 1;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;

/// The number in a message of type `kind`, if it announces a generation.
pub fn announced(kind: u16, body: &[u8]) -> Option<u32> {
    if kind != kind_of(NEW) {
        return None;
    }
    let (_, id) = attributes(body.get(FAMILY..)?).find(|(kind, _)| *kind == ID)?;
    Some(u32::from_be_bytes(*id.first_chunk()?))
}

/// The present number in the network namespace of the calling thread, which needs CAP_NET_ADMIN over it.
pub fn current() -> io::Result<u32> {
    let socket = Socket::new(protocols::NETLINK_NETFILTER)?;
    let mut request = Batch::default();
    request.message(kind_of(GET), REQUEST, 0, 0, |_| {});
    socket.send_to(request.bytes(), &SocketAddr::new(0, 0), 0)?;
    let (datagram, _) = socket.recv_from_full()?;
    for (kind, _, body) in messages(&datagram) {
        if let Some(number) = announced(kind, body) {
            return Ok(number);
        }
        if let (ERROR, Some(code)) = (kind, body.first_chunk()) {
            return Err(io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)));
        }
    }
    Err(io::Error::other("the kernel did not say the generation of the nft ruleset"))
}

fn kind_of(verb: u8) -> u16 {
    u16::from(NFTABLES) << 8 | u16::from(verb)
}
