//! Forward chains of other tables that drop what they don't know, and how to make guests known to them. An `accept` of
//! ours can't: a packet must pass the chains of all tables.

use mvm_host::net::ruleset::TABLE;
use serde_json::Value;
use std::fmt;

/// A base chain at the forward hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardChain {
    /// Its table's family.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Whether its policy is to drop.
    pub drops: bool,
}

impl fmt::Display for ForwardChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// Whose rules they are, as far as they can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firewall {
    /// Docker, which sets the policy to drop and leaves `DOCKER-USER` to the administrator.
    Docker,
    /// ufw.
    Ufw,
    /// firewalld, whose zones reject what they don't know.
    Firewalld,
    /// Rules of iptables-nft.
    Iptables,
    /// Another's.
    Other,
}

fn objects<'a>(answer: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    answer
        .get("nftables")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(move |object| object.get(kind))
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The foreign forward chains in the answer to `nft -j list chains` that see IPv4 packets.
pub fn forward_chains(answer: &str) -> Vec<ForwardChain> {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    objects(&answer, "chain")
        .filter(|chain| text(chain, "hook") == "forward" && text(chain, "table") != TABLE)
        .filter(|chain| ["ip", "inet"].contains(&text(chain, "family")))
        .map(|chain| ForwardChain {
            family: text(chain, "family").to_owned(),
            table: text(chain, "table").to_owned(),
            name: text(chain, "name").to_owned(),
            drops: text(chain, "policy") == "drop",
        })
        .collect()
}

/// Whether a chain, as `nft -j list chain` shows it, has a rule that drops or rejects whatever comes to it.
pub fn ends_in_drop(answer: &str) -> bool {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    objects(&answer, "rule").any(|rule| {
        let statements = rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default();
        let is = |statement: &Value, kinds: &[&str]| kinds.iter().any(|kind| statement.get(kind).is_some());
        statements.iter().all(|statement| is(statement, &["counter", "drop", "reject", "log"]))
            && statements.iter().any(|statement| is(statement, &["drop", "reject"]))
    })
}

/// Whose the chains in the answer to `nft -j list chains` are.
pub fn kind(answer: &str) -> Firewall {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let any = |test: &dyn Fn(&Value) -> bool| objects(&answer, "chain").any(test);
    // ufw and firewalld beside docker are the ones that stay in charge.
    if any(&|chain| text(chain, "table") == "firewalld") {
        Firewall::Firewalld
    } else if any(&|chain| text(chain, "name").starts_with("ufw-")) {
        Firewall::Ufw
    } else if any(&|chain| text(chain, "name") == "DOCKER-USER") {
        Firewall::Docker
    } else if any(&|chain| (text(chain, "table"), text(chain, "name")) == ("filter", "FORWARD")) {
        Firewall::Iptables
    } else {
        Firewall::Other
    }
}

impl Firewall {
    /// What to do so that guests of the bridges `bridge` (with `+` for any end) reach out, and forwards reach them.
    pub fn remedy(self, bridge: &str, blocking: &[ForwardChain]) -> String {
        let iptables = |chain: &str| {
            format!("iptables -I {chain} -i {bridge} -j ACCEPT; iptables -I {chain} -o {bridge} -j ACCEPT")
        };
        match self {
            Self::Docker => format!("{} (docker keeps that chain)", iptables("DOCKER-USER")),
            Self::Ufw => format!("ufw route allow in on {bridge}; ufw route allow out on {bridge}"),
            Self::Firewalld => format!(
                "firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload (trusted by \
                 firewalld only: what guests reach of this host is still decided by our rules)"
            ),
            Self::Iptables => iptables("FORWARD"),
            Self::Other => {
                let pattern = bridge.replace('+', "*");
                let rules: Vec<String> = blocking
                    .iter()
                    .flat_map(|chain| {
                        ["iifname", "oifname"]
                            .map(|side| format!("nft insert rule {chain} {side} '\"{pattern}\"' accept"))
                    })
                    .collect();
                format!("{} (and in the file that these rules come from)", rules.join("; "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(chains: &[(&str, &str, &str, &str)]) -> String {
        let chains = chains.iter().map(|(family, table, name, policy)| {
            let mut chain = serde_json::json!({"family": family, "table": table, "name": name});
            if !policy.is_empty() {
                chain["hook"] = "forward".into();
                chain["policy"] = (*policy).into();
            }
            serde_json::json!({ "chain": chain })
        });
        serde_json::json!({"nftables": chains.collect::<Vec<_>>()}).to_string()
    }

    #[test]
    fn only_foreign_forward_chains_of_ipv4_count() {
        let answer = chains(&[
            ("inet", "microvm-dev", "forward", "accept"),
            ("ip", "filter", "FORWARD", "drop"),
            ("ip6", "filter", "FORWARD", "drop"),
            ("ip", "filter", "DOCKER-USER", ""),
            ("inet", "mine", "forward", "accept"),
        ]);
        let found: Vec<_> = forward_chains(&answer).iter().map(|c| (c.to_string(), c.drops)).collect();
        assert_eq!(found, [("ip filter FORWARD".to_owned(), true), ("inet mine forward".to_owned(), false)]);
        assert_eq!(forward_chains("nonsense"), []);
    }

    #[test]
    fn a_rule_without_condition_ends_a_chain() {
        // As firewalld's filter_FORWARD ends.
        let reject = r#"{"nftables": [{"rule": {"expr": [{"match": {}}, {"accept": null}]}}, {"rule": {"expr": [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]}}]}"#;
        assert!(ends_in_drop(reject));
        let some = r#"{"nftables": [{"rule": {"expr": [{"match": {}}, {"drop": null}]}}, {"rule": {"expr": [{"counter": {}}, {"accept": null}]}}, {"rule": {"expr": []}}]}"#;
        assert!(!ends_in_drop(some));
    }

    #[test]
    fn each_firewall_has_its_own_remedy() {
        let drop = ("ip", "filter", "FORWARD", "drop");
        let cases = [
            (
                vec![drop, ("ip", "filter", "DOCKER-USER", "")],
                "iptables -I DOCKER-USER -i virbr-mvm -j ACCEPT",
            ),
            (vec![drop, ("ip", "filter", "ufw-user-forward", "")], "ufw route allow in on virbr-mvm"),
            (
                vec![("inet", "firewalld", "filter_FORWARD", "accept")],
                "--zone=trusted --add-interface=virbr-mvm",
            ),
            (vec![drop], "iptables -I FORWARD -o virbr-mvm -j ACCEPT"),
            (
                vec![("inet", "mine", "fwd", "drop")],
                "nft insert rule inet mine fwd oifname '\"virbr-mvm\"' accept",
            ),
        ];
        for (found, said) in cases {
            let answer = chains(&found);
            let remedy = kind(&answer).remedy("virbr-mvm", &forward_chains(&answer));
            assert!(remedy.contains(said), "{remedy}");
        }
    }
}
