//! Notices when others change our nft rules: a reload of the host's firewall that begins with `flush ruleset`, say.
//!
//! The kernel announces every change to who listens (`linux/netfilter/nfnetlink.h`, `NFNLGRP_NFTABLES`). Only what was
//! deleted of our own tables counts here, and nothing in sets, whose elements come and go with forwards and names.
//! Deletions of our own are announced alike: who waits here then checks ([`super::Network::intact`]).

use super::nfnetlink::{FAMILY, GROUP, NFTABLES, attributes, messages};
use super::ruleset::TABLE;
use crate::{Error, Result};
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols};
use std::time::Duration;

/// `NFT_MSG_DELTABLE`, `NFT_MSG_DELCHAIN`, `NFT_MSG_DELRULE`, `NFT_MSG_DELSET`: `enum nf_tables_msg_types`.
const DELETIONS: [u8; 4] = [2, 5, 8, 11];
/// A reload is many changes: one after which there is none for this long is the last.
const QUIET: Duration = Duration::from_millis(30);
/// No longer than this, whatever goes on.
const LONGEST: Duration = Duration::from_millis(500);

/// Listens in one network namespace.
pub struct Watch {
    socket: TokioSocket,
}

impl Watch {
    /// Listens in the network namespace of the calling thread, from now on. Needs CAP_NET_ADMIN over it.
    pub fn open() -> Result<Self> {
        let mut socket =
            TokioSocket::new(protocols::NETLINK_NETFILTER).map_err(Error::system("open a netlink socket"))?;
        let listen = |socket: &mut TokioSocket| {
            socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
            socket.socket_mut().add_membership(GROUP)
        };
        listen(&mut socket).map_err(Error::system("listen for changes of the nft rules"))?;
        Ok(Self { socket })
    }

    /// Waits until something of our tables was deleted, and then until that has calmed down. Also returns if the kernel
    /// could not tell everything, for there were too many changes. Error: the socket has failed for good.
    pub async fn lost(&mut self) -> Result<()> {
        while !self.deleted().await? {}
        let calm = async {
            while let Ok(more) = tokio::time::timeout(QUIET, self.deleted()).await {
                more?;
            }
            Ok(())
        };
        tokio::time::timeout(LONGEST, calm).await.unwrap_or(Ok(()))
    }

    /// Whether the next announcement is of a deletion of ours.
    async fn deleted(&mut self) -> Result<bool> {
        match self.socket.recv_from_full().await {
            Ok((datagram, _)) => Ok(is_deletion(&datagram)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(true),
            Err(error) => Err(Error::system("listen for changes of the nft rules")(error)),
        }
    }
}

/// Whether a message in the datagram says that something of ours was deleted. In all messages that count, the table's
/// name is the attribute number 1.
fn is_deletion(datagram: &[u8]) -> bool {
    messages(datagram).any(|(kind, _, body)| {
        let [verb, subsystem] = kind.to_le_bytes();
        let mut attributes = attributes(body.get(FAMILY..).unwrap_or_default());
        subsystem == NFTABLES
            && DELETIONS.contains(&verb)
            && attributes
                .find(|(kind, _)| *kind == 1)
                .is_some_and(|(_, name)| name.strip_suffix(&[0]).unwrap_or(name) == TABLE.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::super::nfnetlink::Batch;
    use super::*;

    fn message(subsystem: u8, verb: u8, table: &str) -> Vec<u8> {
        let mut batch = Batch::default();
        let kind = u16::from(subsystem) << 8 | u16::from(verb);
        batch.message(kind, 0, 1, 0, |attributes| attributes.text(1, table));
        batch.bytes().to_vec()
    }

    #[test]
    fn deletions_of_ours_are_told_from_the_rest() {
        assert!(is_deletion(&message(NFTABLES, 2, TABLE)));
        assert!(is_deletion(&message(NFTABLES, 8, TABLE)));
        assert!(!is_deletion(&message(NFTABLES, 0, TABLE)));
        assert!(!is_deletion(&message(NFTABLES, 14, TABLE)));
        assert!(!is_deletion(&message(NFTABLES, 2, "microvm-dev2")));
        assert!(!is_deletion(&message(1, 2, TABLE)));
        assert!(is_deletion(&[message(NFTABLES, 2, "filter"), message(NFTABLES, 2, TABLE)].concat()));
    }

    proptest::proptest! {
        #[test]
        fn any_datagram_is_read_to_its_end(datagram: Vec<u8>, cut in 0usize..60) {
            is_deletion(&datagram);
            let whole = message(NFTABLES, 2, TABLE);
            is_deletion(&whole[..cut.min(whole.len())]);
        }
    }
}
