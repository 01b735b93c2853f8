//! Notices when others change our nft rules: a reload of the host's firewall that begins with `flush ruleset`, say.
//!
//! The kernel announces every change to who listens (`linux/netfilter/nfnetlink.h`, `NFNLGRP_NFTABLES`). Only what was
//! deleted of our own tables counts here, and nothing in sets, whose elements come and go with forwards and names.
//! Deletions of our own are announced alike, with the number of their transaction, by which they are told apart
//! ([`super::Network::made`]).

use super::generation;
use super::nfnetlink::{FAMILY, GROUP, NFTABLES, attributes, messages};
use super::ruleset::TABLE;
use crate::{Error, Result};
use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols};
use std::collections::BTreeSet;
use std::time::Duration;

/// `NFT_MSG_DELTABLE`, `NFT_MSG_DELCHAIN`, `NFT_MSG_DELRULE`, `NFT_MSG_DELSET`: `enum nf_tables_msg_types`.
const DELETIONS: [u8; 4] = [2, 5, 8, 11];
/// A reload is many changes: one after which there is none for this long is the last.
const QUIET: Duration = Duration::from_millis(30);
/// No longer than this, whatever goes on.
const LONGEST: Duration = Duration::from_millis(500);

/// Transactions that have deleted something of ours.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deletions {
    /// The generations of the ruleset that they have made.
    pub generations: BTreeSet<u32>,
    /// There may be others, which the kernel could not tell: there were too many changes.
    pub more: bool,
    /// A deletion whose transaction is not known yet.
    open: bool,
}

impl Deletions {
    fn any(&self) -> bool {
        self.more || self.open || !self.generations.is_empty()
    }

    /// Takes in a datagram of announcements; whether it has one that counts. A transaction's number follows what it did.
    fn read(&mut self, datagram: &[u8]) -> bool {
        let mut counts = false;
        for (kind, _, body) in messages(datagram) {
            if let Some(generation) = generation::announced(kind, body) {
                if std::mem::take(&mut self.open) {
                    self.generations.insert(generation);
                    counts = true;
                }
            } else if is_deletion(kind, body) {
                self.open = true;
                counts = true;
            }
        }
        counts
    }
}

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

    /// Waits until something of our tables was deleted, and then until that has calmed down. Error: the socket has failed
    /// for good.
    pub async fn deletions(&mut self) -> Result<Deletions> {
        let mut deletions = Deletions::default();
        while !deletions.any() {
            self.next(&mut deletions).await?;
        }
        let calm = async {
            loop {
                match tokio::time::timeout(QUIET, self.next(&mut deletions)).await {
                    Ok(more) => more?,
                    // The end of a transaction may be announced later than all else on a busy machine.
                    Err(_) if deletions.open => {}
                    Err(_) => return Ok(()),
                }
            }
        };
        tokio::time::timeout(LONGEST, calm).await.unwrap_or(Ok(()))?;
        // Its transaction has no number that we would know.
        deletions.more |= deletions.open;
        Ok(deletions)
    }

    /// Waits for the next announcement that counts.
    async fn next(&mut self, deletions: &mut Deletions) -> Result<()> {
        loop {
            match self.socket.recv_from_full().await {
                Ok((datagram, _)) if deletions.read(&datagram) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    deletions.more = true;
                    return Ok(());
                }
                Err(error) => return Err(Error::system("listen for changes of the nft rules")(error)),
            }
        }
    }
}

/// Whether a message says that something of ours was deleted. In all messages that count, the table's name is the
/// attribute number 1.
fn is_deletion(kind: u16, body: &[u8]) -> bool {
    let [verb, subsystem] = kind.to_le_bytes();
    let mut attributes = attributes(body.get(FAMILY..).unwrap_or_default());
    subsystem == NFTABLES
        && DELETIONS.contains(&verb)
        && attributes
            .find(|(kind, _)| *kind == 1)
            .is_some_and(|(_, name)| name.strip_suffix(&[0]).unwrap_or(name) == TABLE.as_bytes())
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

    fn generation(number: u32) -> Vec<u8> {
        let mut batch = Batch::default();
        batch.message(u16::from(NFTABLES) << 8 | 15, 0, 0, 0, |attributes| {
            attributes.value(1, &number.to_be_bytes());
        });
        batch.bytes().to_vec()
    }

    fn counts(datagram: &[u8]) -> bool {
        Deletions::default().read(datagram)
    }

    #[test]
    fn deletions_of_ours_are_told_from_the_rest() {
        assert!(counts(&message(NFTABLES, 2, TABLE)));
        assert!(counts(&message(NFTABLES, 8, TABLE)));
        assert!(!counts(&message(NFTABLES, 0, TABLE)));
        assert!(!counts(&message(NFTABLES, 14, TABLE)));
        assert!(!counts(&message(NFTABLES, 2, "microvm-dev2")));
        assert!(!counts(&message(1, 2, TABLE)));
        assert!(!counts(&generation(7)));
        assert!(counts(&[message(NFTABLES, 2, "filter"), message(NFTABLES, 2, TABLE)].concat()));
    }

    #[test]
    fn a_deletion_has_the_number_of_its_transaction_and_of_no_other() {
        let (ours, other) = (message(NFTABLES, 8, TABLE), message(NFTABLES, 8, "filter"));
        let mut deletions = Deletions::default();
        deletions.read(&[other.clone(), generation(6), ours.clone()].concat());
        deletions.read(&[ours.clone(), generation(7), other, generation(8)].concat());
        assert_eq!(deletions, Deletions { generations: [7].into(), more: false, open: false });
        deletions.read(&ours);
        assert!(deletions.open && deletions.any());
    }

    proptest::proptest! {
        #[test]
        fn any_datagram_is_read_to_its_end(datagram: Vec<u8>, cut in 0usize..60) {
            counts(&datagram);
            let whole = [message(NFTABLES, 2, TABLE), generation(1)].concat();
            counts(&whole[..cut.min(whole.len())]);
        }
    }
}
