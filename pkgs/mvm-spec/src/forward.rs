//! Port forwards: a listener on the host that leads into a VM.
//!
//! ```text
//! [ADDRESS:]HOST[-HOST]:GUEST[-GUEST][/tcp|/udp]     a port, or a range of as many ports on both sides
//! PORT[-PORT][/tcp|/udp]                             the same port on both sides
//! ```

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// One port of the host that leads to one port of the guest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forward {
    /// Transport protocol.
    #[serde(default)]
    pub proto: Protocol,
    /// The host's address to listen on; none for its loopback, 127.0.0.1 and ::1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The host's port.
    #[cfg_attr(feature = "tool", schemars(range(min = 1)))]
    pub host: u16,
    /// The guest's port.
    #[cfg_attr(feature = "tool", schemars(range(min = 1)))]
    pub guest: u16,
}

/// What a person writes: one forward or a range of them, the host's port perhaps left to chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRequest {
    /// Transport protocol.
    pub proto: Protocol,
    /// As in [`Forward`].
    pub address: Option<IpAddr>,
    /// The host's first port; 0 for any free one, which is only for a single port.
    pub host: u16,
    /// The guest's first port.
    pub guest: u16,
    /// How many ports, from 1.
    pub count: u16,
}

/// Why a text is no forward.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no port forward: {problem}")]
pub struct ForwardError {
    /// The text as given.
    pub text: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl Forward {
    /// The host's addresses that it listens on.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self.address {
            Some(address) => vec![address],
            None => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        }
    }

    /// Whether both can't be served at once: same protocol and port, and an address in common. The unspecified address
    /// of a family covers all of it.
    pub fn conflicts(&self, other: &Self) -> bool {
        let overlap = |a: IpAddr, b: IpAddr| {
            a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
        };
        let theirs = other.addresses();
        self.proto == other.proto
            && self.host == other.host
            && self.addresses().into_iter().any(|a| theirs.iter().any(|b| overlap(a, *b)))
    }

    /// The host's side as text: `8080`, `0.0.0.0:8080`, `[::]:8080`, with `/udp` if it is that.
    pub fn host_side(&self) -> String {
        let proto = self.proto.suffix();
        match self.address {
            None => format!("{}{proto}", self.host),
            Some(address) => format!("{}{proto}", std::net::SocketAddr::new(address, self.host)),
        }
    }
}

impl ForwardRequest {
    /// The single forwards; the host's port of one left to chance is 0.
    pub fn forwards(&self) -> impl Iterator<Item = Forward> + '_ {
        let Self { proto, address, host, guest, count } = *self;
        (0..count).map(move |index| Forward { proto, address, host: host + index, guest: guest + index })
    }
}

impl Protocol {
    /// `tcp` or `udp`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// What a forward's text ends in: nothing for TCP.
    fn suffix(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Udp => "/udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The form that [`ForwardRequest`] reads: `127.0.0.1:8080:3000/udp`.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => {}
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
        }
        write!(f, "{}:{}{}", self.host, self.guest, self.proto.suffix())
    }
}

impl FromStr for ForwardRequest {
    type Err = ForwardError;
    fn from_str(text: &str) -> Result<Self, ForwardError> {
        parse(text).map_err(|problem| ForwardError { text: text.to_owned(), problem })
    }
}

const FORMS: &str = "write 8080:3000, 127.0.0.1:8080:3000, [::1]:8080:3000, 3000-3010:3000-3010, 0:3000 for any free \
                     port, and /udp behind it for UDP";

fn parse(text: &str) -> Result<ForwardRequest, String> {
    let (rest, proto) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((rest, "tcp")) => (rest, Protocol::Tcp),
        Some((rest, "udp")) => (rest, Protocol::Udp),
        Some((_, other)) => return Err(format!("`{other}` is neither tcp nor udp")),
    };
    let (address, ports) = split_address(rest)?;
    let mut parts = ports.split(':');
    let (host, guest) = match (parts.next(), parts.next(), parts.next()) {
        (Some(both), None, None) if address.is_none() => (range(both)?, range(both)?),
        (Some(host), Some(guest), None) => (range(host)?, range(guest)?),
        _ => return Err(FORMS.to_owned()),
    };
    if guest.0 == 0 {
        return Err("the guest's port must be 1 to 65535".to_owned());
    }
    if host.0 == 0 && (host.1 != 0 || guest.0 != guest.1) {
        return Err("port 0, any free port, can't be part of a range".to_owned());
    }
    if host.1 - host.0 != guest.1 - guest.0 {
        return Err(format!(
            "{} ports on the host lead to {} in the guest; write ranges of the same length",
            u32::from(host.1 - host.0) + 1,
            u32::from(guest.1 - guest.0) + 1
        ));
    }
    Ok(ForwardRequest { proto, address, host: host.0, guest: guest.0, count: host.1 - host.0 + 1 })
}

/// The address before the ports, if there is one.
fn split_address(text: &str) -> Result<(Option<IpAddr>, &str), String> {
    let (address, ports) = if let Some(rest) = text.strip_prefix('[') {
        rest.split_once("]:").ok_or_else(|| FORMS.to_owned())?
    } else if text.matches(':').count() == 2 {
        text.split_once(':').unwrap_or_default()
    } else {
        return Ok((None, text));
    };
    let address: IpAddr = address.parse().map_err(|_| format!("`{address}` is no IP address; {FORMS}"))?;
    if address.is_ipv6() != text.starts_with('[') {
        return Err(FORMS.to_owned());
    }
    if address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!("nothing can listen on the multicast or broadcast address {address}"));
    }
    Ok((Some(address), ports))
}

/// First and last port.
fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(port) if digits => Ok(port),
            _ if digits => Err(format!("port {text} is not within 0 to 65535")),
            _ => Err(FORMS.to_owned()),
        }
    };
    let (first, last) = match text.split_once('-') {
        None => (port(text)?, port(text)?),
        Some((first, last)) => (port(first)?, port(last)?),
    };
    if last < first {
        return Err(format!("the range {text} runs backwards"));
    }
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn single(text: &str) -> Forward {
        let request: ForwardRequest = text.parse().unwrap();
        assert_eq!(request.count, 1, "{text}");
        request.forwards().next().unwrap()
    }

    fn problem(text: &str) -> String {
        text.parse::<ForwardRequest>().unwrap_err().to_string()
    }

    #[test]
    fn the_documented_forms_are_read() {
        let tcp = |address: Option<&str>, host, guest| Forward {
            proto: Protocol::Tcp,
            address: address.map(|address| address.parse().unwrap()),
            host,
            guest,
        };
        assert_eq!(single("8080:3000"), tcp(None, 8080, 3000));
        assert_eq!(single("3000"), tcp(None, 3000, 3000));
        assert_eq!(single("127.0.0.1:5432:5432"), tcp(Some("127.0.0.1"), 5432, 5432));
        assert_eq!(single("[::1]:8080:80/tcp"), tcp(Some("::1"), 8080, 80));
        assert_eq!(single("0:3000"), tcp(None, 0, 3000));
        assert_eq!(single("0.0.0.0:0:3000/udp").proto, Protocol::Udp);
        let range: ForwardRequest = "3000-3010:4000-4010".parse().unwrap();
        let ports: Vec<_> = range.forwards().map(|forward| (forward.host, forward.guest)).collect();
        assert_eq!((ports.len(), ports[0], ports[10]), (11, (3000, 4000), (3010, 4010)));
        let all: ForwardRequest = "1-65535".parse().unwrap();
        assert_eq!(all.forwards().count(), 65535);
    }

    #[test]
    fn what_is_no_forward_is_refused_with_the_reason() {
        for (text, said) in [
            ("", "write 8080:3000"),
            ("8080:", "write 8080:3000"),
            ("a:b", "write 8080:3000"),
            ("+80:80", "write 8080:3000"),
            ("1:2:3:4", "write 8080:3000"),
            ("::1:8080:80", "write 8080:3000"),
            ("localhost:8080:80", "`localhost` is no IP address"),
            ("[127.0.0.1]:8080:80", "write 8080:3000"),
            ("224.0.0.1:80:80", "multicast"),
            ("8080:3000/sctp", "`sctp` is neither tcp nor udp"),
            ("70000:80", "port 70000 is not within 0 to 65535"),
            ("80:0", "the guest's port must be 1 to 65535"),
            ("0-3:5-8", "can't be part of a range"),
            ("0:5-8", "can't be part of a range"),
            ("3010-3000:1-11", "runs backwards"),
            ("3000-3010:4000-4001", "11 ports on the host lead to 2 in the guest"),
        ] {
            assert!(problem(text).contains(said), "{text}: {}", problem(text));
        }
    }

    #[test]
    fn conflicts_are_by_protocol_port_and_address() {
        let conflict = |a: &str, b: &str| {
            let (a, b) = (single(a), single(b));
            assert_eq!(a.conflicts(&b), b.conflicts(&a));
            a.conflicts(&b)
        };
        assert!(conflict("8080:1", "8080:2"));
        assert!(conflict("8080:1", "127.0.0.1:8080:1"));
        assert!(conflict("8080:1", "[::]:8080:1"));
        assert!(conflict("0.0.0.0:8080:1", "10.0.0.1:8080:1"));
        assert!(!conflict("8080:1", "10.0.0.1:8080:1"));
        assert!(!conflict("8080:1", "8081:1"));
        assert!(!conflict("8080:1", "8080:1/udp"));
        assert!(!conflict("0.0.0.0:8080:1", "[::1]:8080:1"));
    }

    proptest! {
        #[test]
        fn a_forward_survives_its_text_form(
            udp: bool, address: Option<IpAddr>, host in 1u16.., guest in 1u16..,
        ) {
            let address = address.filter(|a| !a.is_multicast() && *a != IpAddr::V4(Ipv4Addr::BROADCAST));
            let proto = if udp { Protocol::Udp } else { Protocol::Tcp };
            let forward = Forward { proto, address, host, guest };
            prop_assert_eq!(single(&forward.to_string()), forward);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9:/\\[\\]a-f.-]{0,30}|\\PC{0,20}") {
            if let Ok(request) = text.parse::<ForwardRequest>() {
                prop_assert!(request.count > 0 && request.guest > 0);
                prop_assert_eq!(request.forwards().count(), usize::from(request.count));
            }
        }
    }
}
