//! One DNS question for an IPv4 address (RFC 1035), to see what an instance answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;

/// How long one answer may take: the question goes to this machine, and is asked again.
const TIMEOUT: Duration = Duration::from_millis(500);
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
/// Response code of a name that does not exist.
pub const NXDOMAIN: u8 = 3;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Response code; 0 is success.
    pub code: u8,
    /// The addresses in it.
    pub addresses: Vec<Ipv4Addr>,
}

impl Answer {
    /// Whether `address` is what the name stands for, alone.
    pub fn leads_to(&self, address: IpAddr) -> bool {
        matches!(self.addresses[..], [only] if IpAddr::V4(only) == address)
    }
}

/// Asks `server` for the addresses of `name`, once; `None` if it does not answer.
pub async fn ask(server: SocketAddr, name: &str) -> Option<Answer> {
    static ID: AtomicU16 = AtomicU16::new(1);
    let id = ID.fetch_add(1, Ordering::Relaxed);
    let exchange = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect(server).await?;
        socket.send(&encode(id, name)).await?;
        let mut buffer = [0; 1500];
        let length = socket.recv(&mut buffer).await?;
        std::io::Result::Ok(decode(id, buffer.get(..length).unwrap_or_default()))
    };
    tokio::time::timeout(TIMEOUT, exchange).await.ok()?.ok()?
}

fn encode(id: u16, name: &str) -> Vec<u8> {
    // Header: id, "recursion desired", one question.
    let mut message = [id, 0x0100, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend([TYPE_A, CLASS_IN].map(u16::to_be_bytes).concat());
    message
}

fn decode(id: u16, message: &[u8]) -> Option<Answer> {
    let word = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let (flags, questions, answers) = (word(2)?, word(4)?, word(6)?);
    if word(0)? != id || flags & 0x8000 == 0 {
        return None;
    }
    let mut at = 12;
    for _ in 0..questions {
        at = skip_name(message, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..answers {
        at = skip_name(message, at)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        if let (TYPE_A, Ok(octets)) = (kind, <[u8; 4]>::try_from(data)) {
            addresses.push(octets.into());
        }
        at += 10 + length;
    }
    Some(Answer { code: (flags & 15) as u8, addresses })
}

/// Where the name that begins at `at` ends.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            // A pointer to the rest of the name.
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A recorded shape: CNAME to a name with two addresses.
    fn answer() -> Vec<u8> {
        let mut message = encode(7, "www.example.com");
        message[2] = 0x81;
        message[7] = 3;
        message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'x', 0xc0, 16]);
        for last in [1, 2] {
            message.extend([1, b'x', 0xc0, 16, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, last]);
        }
        message
    }

    #[test]
    fn addresses_are_found_behind_other_records() {
        let addresses = vec![Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
        assert_eq!(decode(7, &answer()), Some(Answer { code: 0, addresses }));
        assert_eq!(decode(8, &answer()), None, "the answer to another question");
        assert_eq!(decode(7, &encode(7, "a.mvm")), None, "no answer, a question");
    }

    #[test]
    fn a_cut_answer_is_none() {
        let whole = answer();
        for length in 0..whole.len() {
            assert_eq!(decode(7, &whole[..length]), None, "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>) {
            decode(0, &bytes);
        }
    }
}
