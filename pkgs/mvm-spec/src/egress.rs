//! What a VM may reach outside.

use crate::net::Cidr;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// What a VM may reach outside its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, tag = "policy")]
pub enum Egress {
    /// Everything that the host reaches, but for the host itself and other VMs.
    #[default]
    Outbound,
    /// Nothing.
    None,
    /// What is listed, and nothing else; other names don't even resolve.
    Allow {
        /// Names and networks, at least one.
        to: Vec<Destination>,
    },
}

/// A name or a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// A DNS name, which stands for the names below it as well: `example.com` also for `api.example.com`.
    Name(String),
    /// An IPv4 network or address.
    Network(Cidr),
}

/// Why a text is no destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no destination: {problem}")]
pub struct DestinationError {
    /// The text as given.
    pub text: String,
    /// What is wrong, and what would be right.
    pub problem: &'static str,
}

impl Egress {
    /// Whether it is the default.
    pub fn is_outbound(&self) -> bool {
        *self == Self::Outbound
    }

    /// The allowed names; none for other policies.
    pub fn names(&self) -> Vec<&str> {
        self.allowed()
            .iter()
            .filter_map(|to| match to {
                Destination::Name(name) => Some(name.as_str()),
                Destination::Network(_) => None,
            })
            .collect()
    }

    /// The allowed networks; none for other policies.
    pub fn networks(&self) -> Vec<Cidr> {
        self.allowed()
            .iter()
            .filter_map(|to| match to {
                Destination::Name(_) => None,
                Destination::Network(network) => Some(*network),
            })
            .collect()
    }

    fn allowed(&self) -> &[Destination] {
        match self {
            Self::Allow { to } => to,
            Self::Outbound | Self::None => &[],
        }
    }
}

/// `outbound`, `none`, or what is allowed.
impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound => f.write_str("outbound"),
            Self::None => f.write_str("none"),
            Self::Allow { to } => {
                let to: Vec<String> = to.iter().map(ToString::to_string).collect();
                write!(f, "only {}", to.join(", "))
            }
        }
    }
}

impl FromStr for Destination {
    type Err = DestinationError;
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let error = |problem| DestinationError { text: text.to_owned(), problem };
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Network(Cidr { address, prefix: 32 }));
        }
        if let Ok(network) = text.parse::<Cidr>() {
            if network.address != network.network() {
                return Err(error(
                    "the address has bits beyond its prefix; write the network's first address",
                ));
            }
            return Ok(Self::Network(network));
        }
        if text.contains('/') || text.contains(':') {
            return Err(error(
                "write a name (example.com), an IPv4 address, or a network (10.1.2.0/24); guests have no IPv6",
            ));
        }
        if text.starts_with("*.") {
            return Err(error("leave the `*.` out: a name stands for those below it, too"));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        // RFC 1123, 2.1, and the underscore of service names.
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(error(
                "it is no DNS name: labels of a-z, 0-9 and `-`, with dots between them (of a name in other letters its \
                 xn-- form)",
            ));
        }
        if name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(error("it is neither an IPv4 address nor a name"));
        }
        Ok(Self::Name(name))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Network(Cidr { address, prefix: 32 }) => write!(f, "{address}"),
            Self::Network(network) => write!(f, "{network}"),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = DestinationError;
    fn try_from(text: String) -> Result<Self, DestinationError> {
        text.parse()
    }
}

impl From<Destination> for String {
    fn from(destination: Destination) -> Self {
        destination.to_string()
    }
}

#[cfg(feature = "tool")]
impl schemars::JsonSchema for Destination {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Destination".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A DNS name, which stands for the names below it as well, an IPv4 address, or an IPv4 network."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_networks_are_told_apart() {
        for (text, shown) in [
            ("Example.COM.", "example.com"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("10.1.2.0/24", "10.1.2.0/24"),
            ("10.1.2.3", "10.1.2.3"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            let read: Destination = text.parse().unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(read.to_string().parse(), Ok(read));
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_the_reason() {
        for (text, said) in [
            ("", "no DNS name"),
            ("*.example.com", "leave the `*.` out"),
            ("10.1.2.3/24", "bits beyond its prefix"),
            ("1.2.3", "neither an IPv4 address nor a name"),
            ("1.2.3.4.5", "neither an IPv4 address nor a name"),
            ("https://example.com", "write a name"),
            ("example.com:443", "write a name"),
            ("2001:db8::/32", "no IPv6"),
            ("-a.example", "no DNS name"),
            ("bücher.example", "xn--"),
            ("a..b", "no DNS name"),
            ("a#b", "no DNS name"),
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_safe_to_write_into_a_configuration(text in "\\PC{0,40}|[a-z0-9./#,@-]{0,20}") {
            if let Ok(destination) = text.parse::<Destination>() {
                let safe = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
                prop_assert!(destination.to_string().chars().all(safe));
            }
        }
    }
}
