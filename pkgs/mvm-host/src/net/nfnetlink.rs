//! The kernel's wire format for nft: messages of `NETLINK_NETFILTER` (`linux/netfilter/nfnetlink.h`,
//! `linux/netfilter/nf_tables.h`, netlink(7)). Only what is spoken here: changes of elements, and notices of deletions.

/// `NFNLGRP_NFTABLES`: who joins it is told of every change.
pub const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, the upper byte of a message's type.
pub const NFTABLES: u8 = 10;
/// Sizes of `struct nlmsghdr`, `struct nfgenmsg`, `struct nlattr`, in bytes.
pub const HEADER: usize = 16;
/// See [`HEADER`].
pub const FAMILY: usize = 4;
/// See [`HEADER`].
pub const ATTRIBUTE: usize = 4;

/// `NLA_F_NESTED`.
const NESTED: u16 = 1 << 15;

/// Messages one after the other, as one datagram.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: u32,
}

impl Batch {
    /// Adds a message; `kind` is the whole type, `family` and `resource` are of `struct nfgenmsg`. Its sequence number
    /// is its place, from 1.
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        family: u8,
        resource: u16,
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        self.messages += 1;
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.messages.to_ne_bytes());
        self.bytes.extend([0; 4]);
        // `struct nfgenmsg`: version 0 (NFNETLINK_V0).
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        fill(&mut Attributes { bytes: &mut self.bytes });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// How many messages there are.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// The datagram.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Attributes of a message, or within another attribute.
#[derive(Debug)]
pub struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// An attribute of these bytes, at most 65,531.
    pub fn value(&mut self, kind: u16, value: &[u8]) {
        self.raw(kind, |attributes| attributes.bytes.extend(value));
    }

    /// An attribute that is a C string.
    pub fn text(&mut self, kind: u16, text: &str) {
        self.raw(kind, |attributes| {
            attributes.bytes.extend(text.as_bytes());
            attributes.bytes.push(0);
        });
    }

    /// An attribute of attributes, altogether at most 65,531 bytes.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.raw(kind | NESTED, fill);
    }

    fn raw(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(&mut Attributes { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The messages of a datagram, as far as they are whole: their type, sequence number, and what follows the header.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk()?)).ok()?;
        let message = datagram.get(..length).filter(|message| message.len() >= HEADER)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes(message[4..6].try_into().ok()?);
        let sequence = u32::from_ne_bytes(message[8..12].try_into().ok()?);
        Some((kind, sequence, &message[HEADER..]))
    })
}

/// The attributes in `bytes`, as far as they are whole: type and value.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let attribute = bytes.get(..length).filter(|attribute| attribute.len() >= ATTRIBUTE)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes(attribute[2..4].try_into().ok()?);
        Some((kind & !NESTED, &attribute[ATTRIBUTE..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut batch = Batch::default();
        batch.message(0x0a02, 1, 1, 0, |attributes| attributes.text(1, "filter"));
        batch.message(0x0a0e, 5, 1, 7, |attributes| {
            attributes.nested(3, |list| {
                list.value(1, &[1, 2, 3]);
                list.value(2, &[]);
            });
        });
        let read: Vec<_> = messages(batch.bytes()).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].0, read[0].1), (0x0a02, 1));
        let name: Vec<_> = attributes(&read[0].2[FAMILY..]).collect();
        assert_eq!(name, [(1, &b"filter\0"[..])]);
        assert_eq!(read[1].2[..FAMILY], [1, 0, 0, 7]);
        let nested: Vec<_> = attributes(&read[1].2[FAMILY..]).collect();
        assert_eq!(nested[0].0, 3);
        assert_eq!(attributes(nested[0].1).collect::<Vec<_>>(), [(1, &[1, 2, 3][..]), (2, &[][..])]);
    }

    proptest::proptest! {
        #[test]
        fn any_datagram_is_read_to_its_end(datagram: Vec<u8>) {
            for (_, _, body) in messages(&datagram) {
                attributes(body).count();
            }
        }
    }
}
