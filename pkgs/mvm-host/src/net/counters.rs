//! What the rules have refused, by VM.

use super::nft;
use super::ruleset::{Guest, OTHER_PROTOCOLS, TABLE};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::Ipv4Addr;

/// Packets refused to one VM since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Denied {
    /// To other VMs.
    pub guests: Count,
    /// To the host.
    pub host: Count,
    /// To the outside, by the VM's egress policy or because nobody may go there.
    pub outside: Count,
    /// Under another's MAC or IPv4 address, or as a DHCP server. Not what every system says by IPv6 of its own accord.
    pub spoofed: Count,
}

/// A counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What the rules of the calling thread's namespace refused to the guest, since it came or they were made anew.
pub async fn read(guest: &Guest) -> Result<Denied> {
    let mut answers = String::new();
    // One at a time: nft 1.0.6 finds the objects of one family only, whichever comes first.
    for set in ["refused-guests", "refused-host", "refused-outside"] {
        answers += &nft::json(&["list", "set", "inet", TABLE, set]).await?;
    }
    answers += &nft::json(&["list", "chain", "netdev", TABLE, &guest.tap]).await?;
    parse(&answers, guest.address).ok_or_else(|| {
        Error::Failed(format!(
            "`nft` listed what VM `{}` was refused in an unknown form: {answers}",
            guest.name
        ))
    })
}

/// Reads nft's answer: a document for each set, and one for the chain (libnftables-json(5)).
fn parse(answer: &str, address: Ipv4Addr) -> Option<Denied> {
    let mut denied = Denied::default();
    let mut known = 0;
    for document in serde_json::Deserializer::from_str(answer).into_iter::<Value>() {
        let document = document.ok()?;
        for object in document.get("nftables")?.as_array()? {
            if let Some(set) = object.get("set") {
                let count = match set.get("name")?.as_str()? {
                    "refused-guests" => &mut denied.guests,
                    "refused-host" => &mut denied.host,
                    "refused-outside" => &mut denied.outside,
                    _ => continue,
                };
                known += 1;
                *count = of_address(set, address);
            } else if let Some(rule) = object.get("rule") {
                known += 1;
                if rule.get("comment").and_then(Value::as_str) != Some(OTHER_PROTOCOLS) {
                    denied.spoofed += of_rule(rule);
                }
            }
        }
    }
    (known > 3).then_some(denied)
}

/// The counter of an address in a set; nothing refused yet may mean no element.
fn of_address(set: &Value, address: Ipv4Addr) -> Count {
    let address = Value::String(address.to_string());
    let elements = set.get("elem").and_then(Value::as_array).into_iter().flatten();
    elements
        .filter_map(|element| element.get("elem"))
        .find(|element| element.get("val") == Some(&address))
        .and_then(|element| element.get("counter"))
        .map(count)
        .unwrap_or_default()
}

/// The counter of a rule; those of a tap's chain count what they drop.
fn of_rule(rule: &Value) -> Count {
    let statements = rule.get("expr").and_then(Value::as_array).into_iter().flatten();
    statements.filter_map(|statement| statement.get("counter")).map(count).next().unwrap_or_default()
}

fn count(counter: &Value) -> Count {
    let number = |name| counter.get(name).and_then(Value::as_u64).unwrap_or_default();
    Count { packets: number("packets"), bytes: number("bytes") }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// nft 1.0.6, shortened.
    const ANSWER: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "inet", "name": "refused-guests", "table": "microvm-dev", "type": "ipv4_addr", "elem": [{"elem": {"val": "192.168.100.11", "counter": {"packets": 7, "bytes": 700}}}, {"elem": {"val": "192.168.100.10", "counter": {"packets": 2, "bytes": 168}}}]}}]}
{"nftables": [{"metainfo": {}}, {"set": {"name": "refused-host", "elem": ["192.168.100.9"]}}]}
{"nftables": [{"metainfo": {}}, {"set": {"name": "refused-outside"}}]}
{"nftables": [{"metainfo": {}}, {"chain": {"name": "mvm-a"}}, {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 1, "bytes": 42}}, {"drop": null}]}}, {"rule": {"expr": [{"accept": null}]}}, {"rule": {"expr": [{"counter": {"packets": 2, "bytes": 84}}, {"drop": null}]}}]}
"#;

    #[test]
    fn a_guests_own_counters_are_found() {
        let count = |packets, bytes| Count { packets, bytes };
        let denied =
            Denied { guests: count(2, 168), host: count(0, 0), outside: count(0, 0), spoofed: count(3, 126) };
        assert_eq!(parse(ANSWER, Ipv4Addr::new(192, 168, 100, 10)), Some(denied));
        assert_eq!(parse("", Ipv4Addr::LOCALHOST), None);
        assert_eq!(parse("{\"nftables\": 1}", Ipv4Addr::LOCALHOST), None);
    }
}
