//! The host realm's nft maps, which serve what comes from outside without the proxy.
//!
//! Elements are changed by themselves ([`elements`]), at a cost that does not depend on how many there are, and without
//! supposing that the maps are as they should be.

use crate::{Error, Result};
use mvm_host::net::ruleset::{NatForward, TABLE};
use mvm_host::net::{elements, nft};
use mvm_spec::forward::Protocol;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What a replacement changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// Elements that were missing.
    pub added: Vec<NatForward>,
    /// Elements that should not have been there.
    pub removed: Vec<NatForward>,
}

/// Makes the maps hold exactly `wanted`, in one transaction.
pub async fn replace(wanted: &[NatForward]) -> Result<Replaced> {
    let wanted: BTreeSet<NatForward> = wanted.iter().cloned().collect();
    let there = parse(&nft::read_back("inet", TABLE).await?)?;
    let replaced = Replaced {
        added: wanted.difference(&there).cloned().collect(),
        removed: there.difference(&wanted).cloned().collect(),
    };
    elements::change(&replaced.removed, &replaced.added)?;
    Ok(replaced)
}

/// Empties the maps, if they are there; returns how many elements went.
pub async fn clear() -> Result<usize> {
    if !nft::installed() || nft::list_terse("inet", TABLE).await.is_err() {
        return Ok(0);
    }
    Ok(replace(&[]).await?.removed.len())
}

/// The elements of both maps in what `nft -n list table` prints.
fn parse(table: &str) -> Result<BTreeSet<NatForward>> {
    let mut found = BTreeSet::new();
    for (map, any) in [("\tmap forwards {", true), ("\tmap forwards-at {", false)] {
        let Some((_, rest)) = table.split_once(map) else {
            return Err(unexpected(map));
        };
        let body = rest.split_once("\n\t}").map_or(rest, |(body, _)| body);
        let Some((_, elements)) = body.split_once("elements = {") else { continue };
        let elements = elements.split_once('}').map_or(elements, |(elements, _)| elements);
        for element in elements.split(',') {
            found.insert(parse_element(element, any).ok_or_else(|| unexpected(element))?);
        }
    }
    Ok(found)
}

/// `[ADDRESS . ]PROTO . PORT : ADDRESS . PORT`.
fn parse_element(element: &str, any: bool) -> Option<NatForward> {
    let (key, to) = element.split_once(" : ")?;
    let mut key = key.split(" . ").map(str::trim);
    let address = if any { Ipv4Addr::UNSPECIFIED } else { key.next()?.parse().ok()? };
    // `-n` prints the numbers of /etc/protocols.
    let proto = match key.next()? {
        "6" | "tcp" => Protocol::Tcp,
        "17" | "udp" => Protocol::Udp,
        _ => return None,
    };
    let host = key.next()?.parse().ok()?;
    let (to, guest) = to.split_once(" . ")?;
    Some(NatForward { proto, address, host, to: to.trim().parse().ok()?, guest: guest.trim().parse().ok()? })
}

fn unexpected(what: &str) -> Error {
    Error::Host(mvm_host::Error::Failed(format!(
        "the nft table `inet {TABLE}` has something that is not ours: {}; stop all VMs and start them again",
        what.trim()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mvm_host::ports::by_rules;
    use mvm_host::realm::RealmKind;
    use mvm_spec::forward::Forward;

    fn forward(text: &str) -> Forward {
        text.parse::<mvm_spec::forward::ForwardRequest>().unwrap().forwards().next().unwrap()
    }

    const TO: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 10);

    #[test]
    fn only_what_comes_from_outside_the_host_needs_the_maps() {
        let all = ["8080:1", "127.0.0.2:8080:1", "[::]:8080:1", "0.0.0.0:8080:1", "10.0.0.1:53:53/udp"]
            .map(forward);
        assert!(by_rules(RealmKind::User, TO, &all).is_empty());
        let nat = by_rules(RealmKind::Host, TO, &all);
        assert_eq!(nat.iter().map(|nat| nat.host).collect::<Vec<_>>(), [8080, 53]);
    }

    #[test]
    fn what_nft_prints_is_read() {
        let table = "table inet microvm-dev {\n\tmap forwards {\n\t\ttype inet_proto . inet_service : ipv4_addr . \
                     inet_service\n\t\telements = { 6 . 80 : 192.168.100.10 . 81,\n\t\t\t     17 . 53 : 192.168.100.10 . \
                     54 }\n\t}\n\n\tmap forwards-at {\n\t\ttype ipv4_addr . inet_proto . inet_service : ipv4_addr . \
                     inet_service\n\t}\n}\n";
        let expected = ["0.0.0.0:80:81", "0.0.0.0:53:54/udp"].map(forward);
        assert_eq!(parse(table).unwrap(), by_rules(RealmKind::Host, TO, &expected).into_iter().collect());
        assert!(parse("table inet microvm-dev {\n}\n").is_err());
    }
}
