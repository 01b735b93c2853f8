//! As much of DNS (RFC 1035) as the tests need.

use std::net::Ipv4Addr;

pub const A: u16 = 1;
pub const CNAME: u16 = 5;
pub const PTR: u16 = 12;
pub const MX: u16 = 15;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const NXDOMAIN: u8 = 3;

/// A record of a fake zone.
#[derive(Clone, Debug)]
pub enum Record {
    A(&'static str, Ipv4Addr),
    Aaaa(&'static str),
    Cname(&'static str, &'static str),
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub code: u8,
    pub addresses: Vec<Ipv4Addr>,
    /// Targets of PTR records.
    pub names: Vec<String>,
    /// Types of all records.
    pub kinds: Vec<u16>,
    /// The shortest life of a record, in seconds.
    pub ttl: Option<u32>,
}

pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let header = [id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    [header, encode_name(name), [kind, 1].map(u16::to_be_bytes).concat()].concat()
}

fn encode_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).unwrap();
        [&[length], label.as_bytes()].concat()
    });
    labels.chain([0]).collect()
}

impl Record {
    /// Whether it belongs into an answer about records of type `kind`.
    pub fn answers(&self, kind: u16) -> bool {
        match self {
            Self::A(..) => kind == A,
            Self::Aaaa(_) => kind == AAAA,
            Self::Cname(..) => true,
        }
    }
}

/// Name and type that a query asks for.
pub fn question(message: &[u8]) -> (String, u16) {
    let (name, end) = decode_name(message, 12);
    (name, word(message, end))
}

/// The answer to `query` with `records`, which live for `ttl` seconds.
pub fn answer(query: &[u8], code: u8, ttl: u32, records: &[Record]) -> Vec<u8> {
    let end = decode_name(query, 12).1 + 4;
    let mut message = query[..end].to_vec();
    message[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    message[4..12].copy_from_slice(&[0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
    for record in records {
        let (name, kind, data) = match record {
            Record::A(name, address) => (name, A, address.octets().to_vec()),
            Record::Aaaa(name) => (name, AAAA, vec![0xfd; 16]),
            Record::Cname(name, target) => (name, CNAME, encode_name(target)),
        };
        message.extend(encode_name(name));
        message.extend([kind, 1].map(u16::to_be_bytes).concat());
        message.extend(ttl.to_be_bytes());
        message.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        message.extend(data);
    }
    message
}

pub fn reply(message: &[u8]) -> Reply {
    let mut reply = Reply { code: message[3] & 15, ..Reply::default() };
    let mut at = 12;
    for _ in 0..word(message, 4) {
        at = decode_name(message, at).1 + 4;
    }
    for _ in 0..word(message, 6) {
        at = decode_name(message, at).1;
        let (kind, length) = (word(message, at), usize::from(word(message, at + 8)));
        let ttl = u32::from_be_bytes(message[at + 4..at + 8].try_into().unwrap());
        reply.ttl = Some(reply.ttl.map_or(ttl, |shortest| shortest.min(ttl)));
        reply.kinds.push(kind);
        let data = at + 10;
        match kind {
            A => reply
                .addresses
                .push(Ipv4Addr::from(<[u8; 4]>::try_from(&message[data..data + length]).unwrap())),
            PTR => reply.names.push(decode_name(message, data).0),
            _ => {}
        }
        at = data + length;
    }
    reply.addresses.sort();
    reply
}

fn word(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([message[at], message[at + 1]])
}

/// A name and where it ends.
fn decode_name(message: &[u8], at: usize) -> (String, usize) {
    match message[at] {
        0 => (String::new(), at + 1),
        length if length >= 0xc0 => (decode_name(message, usize::from(word(message, at) & 0x3fff)).0, at + 2),
        length => {
            let end = at + 1 + usize::from(length);
            let label = String::from_utf8_lossy(&message[at + 1..end]);
            let (rest, after) = decode_name(message, end);
            (if rest.is_empty() { label.into_owned() } else { format!("{label}.{rest}") }, after)
        }
    }
}
