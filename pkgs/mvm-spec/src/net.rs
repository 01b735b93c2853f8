//! Addresses as they stand in a spec.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// A MAC address, written `02:1a:…` in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr(pub [u8; 6]);

/// An IPv4 address with the length of its network's prefix, written `192.168.100.10/24` (RFC 4632).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// The address, host bits included.
    pub address: Ipv4Addr,
    /// Length of the prefix, 0 to 32 bits.
    pub prefix: u8,
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {expected}")]
pub struct AddressError {
    /// The text as given.
    pub text: String,
    /// What it should have been, with an example.
    pub expected: &'static str,
}

impl Cidr {
    /// The network's first address.
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.mask())
    }

    /// The network's last address, its broadcast address for prefixes up to 30.
    pub fn last(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() | !self.mask())
    }

    /// Whether `address` is within the network.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask() == self.network().to_bits()
    }

    /// Whether the two networks share an address.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }
}

impl FromStr for Cidr {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError {
            text: text.to_owned(),
            expected: "IPv4 address with prefix length, like 192.168.100.1/24",
        };
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address = address.parse().map_err(|_| error())?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32).ok_or_else(error)?;
        Ok(Self { address, prefix })
    }
}

impl FromStr for MacAddr {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error =
            || AddressError { text: text.to_owned(), expected: "MAC address, like 02:00:5e:10:00:01" };
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(octets)) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

macro_rules! text_form {
    ($type:ident, $pattern:literal, $description:literal) => {
        impl TryFrom<String> for $type {
            type Error = AddressError;
            fn try_from(text: String) -> Result<Self, AddressError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
        #[cfg(feature = "tool")]
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "description": $description })
            }
        }
    };
}
text_form!(Cidr, r"^\d{1,3}(\.\d{1,3}){3}/\d{1,2}$", "An IPv4 address with prefix length.");
text_form!(MacAddr, "^[0-9a-f]{2}(:[0-9a-f]{2}){5}$", "A MAC address.");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn networks_know_their_edges() {
        let cidr: Cidr = "192.168.100.10/24".parse().unwrap();
        assert_eq!(cidr.network().to_string(), "192.168.100.0");
        assert_eq!(cidr.last().to_string(), "192.168.100.255");
        assert!(cidr.contains(Ipv4Addr::new(192, 168, 100, 255)));
        assert!(!cidr.contains(Ipv4Addr::new(192, 168, 101, 0)));
        let all: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(all.overlaps(&cidr) && cidr.overlaps(&all));
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for bad in ["", "1.2.3.4", "1.2.3.4/33", "1.2.3/8", "1.2.3.4/-1", "1.2.3.4/8/8", "::1/64"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        for bad in ["", "02:00", "02:00:5e:10:00:01:02", "2:0:5e:10:0:1", "02:00:5e:10:00:zz"] {
            assert!(bad.parse::<MacAddr>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn addresses_survive_their_text_form(bits: u32, prefix in 0u8..=32, mac: [u8; 6]) {
            let cidr = Cidr { address: Ipv4Addr::from_bits(bits), prefix };
            prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
            prop_assert!(cidr.contains(cidr.network()) && cidr.contains(cidr.last()));
            prop_assert_eq!(MacAddr(mac).to_string().parse(), Ok(MacAddr(mac)));
        }
    }
}
