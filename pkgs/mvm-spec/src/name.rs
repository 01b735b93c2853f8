//! VM names, and the names derived from them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// A VM's name: `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`, which is a DNS label (RFC 1123 §2.1) in lower case, so that it
/// serves unchanged as host name, directory name and unit instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(String);

/// Why a string is no VM name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("a VM name can't be empty")]
    Empty,
    /// The name is longer than a DNS label.
    #[error("VM name `{name}` has {length} characters; at most 63 are possible")]
    TooLong {
        /// The name as given.
        name: String,
        /// Its length in bytes.
        length: usize,
    },
    /// The name has a character outside `a-z`, `0-9`, `-`.
    #[error("VM name `{name}` has the character {character:?}; use a-z, 0-9 and `-`")]
    Character {
        /// The name as given.
        name: String,
        /// The first offending character.
        character: char,
    },
    /// The name begins or ends with `-`.
    #[error("VM name `{name}` must begin and end with a letter or digit")]
    Edge {
        /// The name as given.
        name: String,
    },
}

/// Longest interface name Linux takes, without the terminating NUL (`IFNAMSIZ` − 1, `linux/if.h`).
const INTERFACE_MAX: usize = 15;

impl VmName {
    /// Checks `name` and wraps it.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(character) = name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return Err(NameError::Character { name, character });
        }
        if name.len() > 63 {
            let length = name.len();
            return Err(NameError::TooLong { name, length });
        }
        if name.starts_with('-') || name.ends_with('-') {
            return Err(NameError::Edge { name });
        }
        Ok(Self(name))
    }

    /// Makes a valid name out of any text, for a VM named after a directory: lower case, everything else `-`.
    /// Text without a single usable character gives `vm`.
    pub fn from_text(text: &str) -> Self {
        let mut name = String::with_capacity(text.len());
        for character in text.chars() {
            let character = character.to_ascii_lowercase();
            if character.is_ascii_lowercase() || character.is_ascii_digit() {
                name.push(character);
            } else if !name.is_empty() && !name.ends_with('-') {
                name.push('-');
            }
        }
        name.truncate(63);
        let name = name.trim_end_matches('-');
        Self(if name.is_empty() { "vm".to_owned() } else { name.to_owned() })
    }

    /// The name of copy `index` (from 1) of this VM: `NAME-INDEX`.
    pub fn copy(&self, index: u32) -> Result<Self, NameError> {
        Self::new(format!("{}-{index}", self.0))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tap's interface name: at most 15 characters, different for different VMs. Short names stay readable
    /// (`mvm-shop`); longer ones become `mvm_` and 11 characters (55 bits) of their SHA-256.
    pub fn tap(&self) -> String {
        self.interface("mvm")
    }

    /// The name of a bridge of the VM's own, derived as [`VmName::tap`]: `br-shop`.
    pub fn bridge(&self) -> String {
        self.interface("br")
    }

    /// `PREFIX-NAME`, or `PREFIX_` and a hash of the name: `_` can't occur in a VM's name, so the two never meet.
    fn interface(&self, prefix: &str) -> String {
        if prefix.len() + 1 + self.0.len() <= INTERFACE_MAX {
            return format!("{prefix}-{}", self.0);
        }
        let digest = Sha256::digest(self.0.as_bytes());
        let mut interface = format!("{prefix}_");
        // Base 32 in lower case: five bits a character, taken from the digest's first 60 bits.
        let bits = digest.iter().take(8).fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte));
        for place in 0..INTERFACE_MAX - interface.len() {
            let digit = (bits >> (59 - 5 * place)) & 31;
            interface.push(char::from(b"abcdefghijklmnopqrstuvwxyz234567"[digit as usize]));
        }
        interface
    }

    /// The MAC address of the VM's network interface: derived from the name, locally administered, unicast
    /// (IEEE 802: second-lowest bit of the first octet set, lowest clear).
    pub fn mac(&self) -> crate::net::MacAddr {
        let digest = Sha256::digest(format!("microvm-dev mac {}", self.0).as_bytes());
        crate::net::MacAddr([0x02, digest[0], digest[1], digest[2], digest[3], digest[4]])
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for VmName {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for VmName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0
    }
}

#[cfg(feature = "tool")]
impl schemars::JsonSchema for VmName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "VmName".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
            "description": "A DNS label in lower case.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_follow_the_dns_label_rule() {
        for good in ["a", "7", "shop", "my-shop-2", &"a".repeat(63)] {
            assert_eq!(VmName::new(good).unwrap().as_str(), good);
        }
        assert_eq!(VmName::new(""), Err(NameError::Empty));
        assert!(matches!(VmName::new("a".repeat(64)), Err(NameError::TooLong { length: 64, .. })));
        for bad in ["-a", "a-", "-"] {
            assert!(matches!(VmName::new(bad), Err(NameError::Edge { .. })), "{bad}");
        }
        for bad in ["A", "a_b", "a.b", "a/b", "ä", "a b", "..", "a\n"] {
            assert!(matches!(VmName::new(bad), Err(NameError::Character { .. })), "{bad}");
        }
    }

    #[test]
    fn text_becomes_a_name() {
        for (text, name) in
            [("My Shop", "my-shop"), ("__x__", "x"), ("été", "t"), ("", "vm"), ("--", "vm"), ("a..b", "a-b")]
        {
            assert_eq!(VmName::from_text(text).as_str(), name, "{text}");
        }
    }

    #[test]
    fn short_names_stay_readable_in_the_tap() {
        assert_eq!(VmName::new("shop").unwrap().tap(), "mvm-shop");
        assert_eq!(VmName::new("abcdefghijk").unwrap().tap(), "mvm-abcdefghijk");
        assert_eq!(VmName::new("abcdefghijkl").unwrap().tap().len(), 15);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_valid_name(text in ".*") {
            let name = VmName::from_text(&text);
            prop_assert_eq!(VmName::new(name.as_str()), Ok(name.clone()));
        }

        #[test]
        fn taps_fit_and_differ(a in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", b in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            let (a, b) = (VmName::new(a).unwrap(), VmName::new(b).unwrap());
            prop_assert!(a.tap().len() <= 15);
            prop_assert_eq!(a == b, a.tap() == b.tap());
            prop_assert_eq!(a.mac().0[0] & 3, 2);
        }
    }
}
