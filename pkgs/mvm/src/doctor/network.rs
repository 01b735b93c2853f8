//! The network: our rules, those of others, addresses that are in use.
//!
//! In a user realm the rules are in a namespace of its own, where no rule of the host is: what is checked of the host's
//! then are addresses only, which need no privilege.

mod foreign;

use super::{Check, find_program};
use crate::context::{Context, block_on};
use mvm_host::client;
use mvm_host::net::link::Links;
use mvm_host::net::{conflict::InterfaceAddress, nft, ruleset::TABLE};
use mvm_host::realm::{RealmKind, TopologyKind};
use mvm_spec::net::Cidr;
use std::net::Ipv4Addr;

/// dnsmasq: names and addresses for guests.
pub fn dnsmasq(_: &Context) -> Check {
    const NAME: &str = "dnsmasq";
    match find_program("dnsmasq") {
        Some(path) => Check::ok(NAME, path.display().to_string()),
        None => Check::warn(
            NAME,
            "dnsmasq is not installed",
            "VMs resolve no names without it: apt install dnsmasq-base (Fedora: dnf install dnsmasq)",
        ),
    }
}

/// The settings of topology and subnets make sense.
pub fn settings(context: &Context) -> Check {
    const NAME: &str = "network settings";
    match context.realm.config.topology() {
        Ok(topology) => Check::ok(NAME, format!("guests are in {}", topology.space())),
        Err(error) => Check::fail(NAME, error.to_string(), "VMs with a network can't be made until then"),
    }
}

/// Nobody else has the guests' addresses.
pub fn addresses(context: &Context) -> Check {
    const NAME: &str = "guests' addresses";
    let Ok(topology) = context.realm.config.topology() else {
        return Check::ok(NAME, "not checked: the network's settings can't be used");
    };
    let found = match block_on(async { Ok(Links::open()?.addresses().await?) }) {
        Ok(found) => found,
        Err(error) => return Check::warn(NAME, crate::exit::chain(&error), "mvm checks again at each start"),
    };
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut taken: Vec<Cidr> = topology.overlaps(&found).into_iter().map(|found| found.address).collect();
    let routed: Vec<InterfaceAddress> = routes_of(&routes, &bridge_pattern(context))
        .map(|address| InterfaceAddress { index: 0, address })
        .collect();
    taken.extend(topology.overlaps(&routed).into_iter().map(|found| found.address));
    taken.sort_unstable();
    taken.dedup();
    if taken.is_empty() {
        return Check::ok(NAME, format!("{} is free", topology.space()));
    }
    let taken: Vec<String> = taken.iter().map(Cidr::to_string).collect();
    let finding = format!("{} overlaps with this host's {}", topology.space(), taken.join(", "));
    let setting = match context.realm.config.topology {
        TopologyKind::SharedBridge => "subnet",
        TopologyKind::BridgePerVm => "subnets",
    };
    let advice = format!("set another `{setting}` in config.toml, and make the VMs anew");
    match (context.realm.kind, context.realm.config.topology) {
        (RealmKind::Host, TopologyKind::SharedBridge) => Check::fail(NAME, finding, advice),
        // Of a pool of networks most may be free; a VM whose network is not says so when it starts.
        (RealmKind::Host, TopologyKind::BridgePerVm) => Check::warn(NAME, finding, advice),
        (RealmKind::User, _) => {
            Check::warn(NAME, format!("{finding}: guests can't reach hosts there"), advice)
        }
    }
}

/// Destinations of a table of the form of `/proc/net/route` but the default's and those by our own bridges.
fn routes_of<'a>(table: &'a str, bridges: &'a str) -> impl Iterator<Item = Cidr> + 'a {
    table.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, _, _, _, _, _, mask, ..] = fields.as_slice() else { return None };
        let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
        let (destination, mask) = (number(destination)?, number(mask)?);
        let ours = match bridges.strip_suffix('+') {
            Some(prefix) => interface.starts_with(prefix),
            None => *interface == bridges,
        };
        (mask != 0 && !ours).then(|| Cidr {
            address: Ipv4Addr::from_bits(destination),
            prefix: u8::try_from(mask.leading_ones()).unwrap_or(32),
        })
    })
}

/// Our bridges as iptables(8) writes interfaces: `+` stands for any end.
fn bridge_pattern(context: &Context) -> String {
    match context.realm.config.topology {
        TopologyKind::SharedBridge => context.realm.config.bridge.clone(),
        TopologyKind::BridgePerVm => "br-+".to_owned(),
    }
}

fn vms_run(context: &Context) -> bool {
    block_on(async { Ok(client::status(&context.realm).await?) }).is_ok_and(|vms| !vms.is_empty())
}

/// Our own rules are there while VMs run.
pub fn rules(context: &Context) -> Check {
    const NAME: &str = "firewall rules";
    if context.realm.kind == RealmKind::User {
        return Check::ok(NAME, "in a namespace of this realm's own; the keeper watches over them");
    }
    if !vms_run(context) {
        return Check::ok(NAME, "made when the first VM starts");
    }
    let table = block_on(async { Ok(nft::list_terse("inet", TABLE).await?) });
    match table {
        Ok(table) if table.contains("chain between-guests") => Check::ok(NAME, format!("table inet {TABLE}")),
        Ok(_) => Check::fail(
            NAME,
            format!("table inet {TABLE} has lost its chains"),
            "something flushed it: stop all VMs and start them again",
        ),
        Err(error) => Check::fail(
            NAME,
            crate::exit::chain(&error),
            "VMs run without rules: stop all VMs and start them again",
        ),
    }
}

/// The host routes, which guests of the host realm need.
pub fn forwarding(context: &Context) -> Check {
    const NAME: &str = "IP forwarding";
    if context.realm.kind == RealmKind::User {
        return Check::ok(NAME, "a setting of this realm's own namespace");
    }
    match std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward") {
        Ok(text) if text.trim() == "1" => Check::ok(NAME, "on"),
        Ok(_) if !vms_run(context) => Check::ok(NAME, "off; switched on when the first VM starts"),
        Ok(_) => Check::warn(
            NAME,
            "off, though VMs run: they don't reach out",
            "sysctl -w net.ipv4.ip_forward=1; something switched it off, see /etc/sysctl.conf and /etc/sysctl.d",
        ),
        Err(error) => Check::warn(NAME, format!("/proc/sys/net/ipv4/ip_forward: {error}"), "mount /proc"),
    }
}

/// Rules of others don't stop guests' packets.
pub fn foreign_rules(context: &Context) -> Check {
    const NAME: &str = "other firewalls";
    if context.realm.kind == RealmKind::User {
        return Check::ok(
            NAME,
            "of no concern to a user realm: its packets leave as this user's connections",
        );
    }
    let listed = block_on(async {
        let chains = nft::json(&["list", "chains"]).await?;
        let mut blocking = Vec::new();
        for chain in foreign::forward_chains(&chains) {
            let rules = nft::json(&["list", "chain", &chain.family, &chain.table, &chain.name]).await?;
            if chain.drops || foreign::ends_in_drop(&rules) {
                blocking.push(chain);
            }
        }
        Ok((foreign::kind(&chains), blocking))
    });
    let (kind, blocking) = match listed {
        Ok(listed) => listed,
        Err(error) => return Check::warn(NAME, crate::exit::chain(&error), "run mvm doctor as root"),
    };
    let legacy = std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if blocking.is_empty() && !legacy.lines().any(|table| table == "filter") {
        // On or off, isolation is the same: guests are isolated ports, and what is routed meets our own rules.
        let bridged = std::fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables");
        let bridged = bridged.is_ok_and(|text| text.trim() == "1");
        let finding =
            if bridged { "none that block guests (br_netfilter is on)" } else { "none that block guests" };
        return Check::ok(NAME, finding);
    }
    let bridge = bridge_pattern(context);
    if blocking.is_empty() {
        return Check::warn(
            NAME,
            "there are iptables-legacy rules, which nft doesn't show",
            format!(
                "if `iptables-legacy -S FORWARD` begins with `-P FORWARD DROP`: iptables-legacy -I FORWARD -i {bridge} \
                 -j ACCEPT; iptables-legacy -I FORWARD -o {bridge} -j ACCEPT"
            ),
        );
    }
    let chains: Vec<String> = blocking.iter().map(ToString::to_string).collect();
    Check::warn(
        NAME,
        format!(
            "{} drop what they don't know: unless they know {bridge}, guests don't reach out",
            chains.join(", ")
        ),
        kind.remedy(&bridge, &blocking),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_by_other_interfaces_are_found() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t0064A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
virbr-mvm\t0064A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
br-a\t0000010A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
        let found = |bridges| routes_of(table, bridges).map(|cidr| cidr.to_string()).collect::<Vec<_>>();
        assert_eq!(found("virbr-mvm"), ["192.168.100.0/24", "10.1.0.0/24"]);
        assert_eq!(found("br-+"), ["192.168.100.0/24", "192.168.100.0/24"]);
    }
}
