//! What a person writes to remove forwards: a forward as it was added, or only its host's side.
//!
//! ```text
//! [ADDRESS:]HOST[-HOST][:GUEST[-GUEST]][/tcp|/udp]
//! ```

use mvm_spec::forward::{Forward, ForwardError, ForwardRequest};
use std::fmt;
use std::str::FromStr;

/// Which forwards are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    text: String,
    request: ForwardRequest,
    /// Whether the guest's ports matter.
    guest: bool,
}

impl Removal {
    /// Whether `forward` is meant. Without an address any address is, without a guest's port any guest's port.
    pub fn matches(&self, forward: &Forward) -> bool {
        let ForwardRequest { proto, address, host, guest, count } = self.request;
        let Some(index) = forward.host.checked_sub(host).filter(|index| *index < count) else { return false };
        forward.proto == proto
            && (address.is_none() || forward.address == address)
            && (!self.guest || forward.guest == guest + index)
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Removal {
    type Err = ForwardError;
    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let error = |problem: &str| ForwardError { text: text.to_owned(), problem: problem.to_owned() };
        let (ports, proto) = match text.split_once('/') {
            Some((ports, _)) => text.split_at(ports.len()),
            None => (text, ""),
        };
        // An IPv4 address has dots, an IPv6 address its brackets; ports have neither.
        let (address, ports) = match ports
            .rsplit_once("]:")
            .or_else(|| ports.split_once(':').filter(|(address, _)| address.contains('.')))
        {
            Some((_, rest)) => ports.split_at(ports.len() - rest.len()),
            None => ("", ports),
        };
        let guest = ports.contains(':');
        let request: ForwardRequest = match guest {
            true => text.parse()?,
            false => format!("{address}{ports}:{ports}{proto}")
                .parse()
                .map_err(|ForwardError { problem, .. }| error(&problem))?,
        };
        if request.host == 0 {
            return Err(error("name the port that was chosen; --list shows it"));
        }
        Ok(Self { text: text.to_owned(), request, guest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forward(text: &str) -> Forward {
        text.parse::<ForwardRequest>().unwrap().forwards().next().unwrap()
    }

    fn matches(removal: &str, text: &str) -> bool {
        removal.parse::<Removal>().unwrap().matches(&forward(text))
    }

    #[test]
    fn what_is_left_out_does_not_matter() {
        for (removal, text, expected) in [
            ("8080", "8080:3000", true),
            ("8080", "127.0.0.2:8080:3000", true),
            ("8080", "8080:3000/udp", false),
            ("8080/udp", "8080:3000/udp", true),
            ("8080:3000", "8080:3000", true),
            ("8080:3001", "8080:3000", false),
            ("127.0.0.2:8080", "127.0.0.2:8080:3000", true),
            ("127.0.0.2:8080", "8080:3000", false),
            ("[::1]:8080", "[::1]:8080:80", true),
            ("[::1]:8080:81", "[::1]:8080:80", false),
            ("3000-3010", "3010:1", true),
            ("3000-3010:1-11", "3010:11", true),
            ("3000-3010:1-11", "3010:10", false),
            ("3000-3010", "3011:1", false),
        ] {
            assert_eq!(matches(removal, text), expected, "{removal} of {text}");
        }
    }

    #[test]
    fn what_names_no_port_is_refused() {
        for bad in ["", "0", "0:3000", "a", "8080:", "8080/sctp", "127.0.0.1", "[::1]:", "1-0"] {
            let error = bad.parse::<Removal>().unwrap_err();
            assert_eq!(error.text, bad);
        }
    }

    proptest! {
        #[test]
        fn a_forward_is_removed_by_its_own_text(udp: bool, address: Option<std::net::IpAddr>, host in 1u16.., guest in 1u16..) {
            let address = address.filter(|a| !a.is_multicast() && !a.to_string().starts_with("255.255.255.255"));
            let proto = if udp { mvm_spec::forward::Protocol::Udp } else { Default::default() };
            let forward = Forward { proto, address, host, guest };
            prop_assert!(forward.to_string().parse::<Removal>().unwrap().matches(&forward));
            prop_assert!(forward.host_side().parse::<Removal>().unwrap().matches(&forward));
        }
    }
}
