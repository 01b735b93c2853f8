//! Which ranges guests' networks may be of.

use crate::net::uplink;
use crate::{Error, Result};
use mvm_spec::net::Cidr;
use std::net::Ipv4Addr;

const fn range(a: u8, b: u8, c: u8, prefix: u8) -> Cidr {
    Cidr { address: Ipv4Addr::new(a, b, c, 0), prefix }
}

/// Ranges that no host on the Internet has: of private networks (RFC 1918), carriers (RFC 6598), benchmarks (RFC 2544)
/// and documentation (RFC 5737).
const PRIVATE: &[Cidr] = &[
    range(10, 0, 0, 8),
    range(172, 16, 0, 12),
    range(192, 168, 0, 16),
    range(100, 64, 0, 10),
    range(198, 18, 0, 15),
    range(192, 0, 2, 24),
    range(198, 51, 100, 24),
    range(203, 0, 113, 24),
];

/// Ranges that are never a guest's (RFC 6890), and what they are.
const SPECIAL: &[(Cidr, &str)] = &[
    (range(0, 0, 0, 8), "\"this network\""),
    (range(127, 0, 0, 8), "loopback"),
    (range(169, 254, 0, 16), "link-local"),
    (range(224, 0, 0, 4), "multicast"),
    (range(240, 0, 0, 4), "reserved"),
    (uplink::ADDRESS, "the uplink's own link"),
];

/// Whether guests may have addresses of `cidr`, which is the value of `setting`.
pub fn check(setting: &str, cidr: Cidr) -> Result<()> {
    let within = |range: &Cidr| range.prefix <= cidr.prefix && range.contains(cidr.address);
    let problem = if let Some((range, what)) = SPECIAL.iter().find(|(range, _)| range.overlaps(&cidr)) {
        format!("overlaps with {}/{}, {what}", range.network(), range.prefix)
    } else if PRIVATE.iter().any(within) {
        return Ok(());
    } else {
        "is not within a private range: hosts on the Internet with its addresses would be out of reach"
            .to_owned()
    };
    Err(Error::Failed(format!(
        "`{setting} = \"{cidr}\"` in config.toml {problem}; use one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
    )))
}
