//! Rules of others, on the same host: what they do to guests, and what becomes of them.

use crate::guest::Guest;
use crate::isolation::{boot, boot_as, dropped, guest, settle};
use crate::lan::{HOST, Lan, SERVER, up_to};
use crate::support::in_namespaces;
use mvm_host::net::ruleset::{self, NatForward};
use mvm_host::net::{nft, watch::Watch};
use mvm_spec::VmName;
use mvm_spec::egress::Egress;
use mvm_spec::forward::Protocol;
use std::net::{Ipv4Addr, UdpSocket};

/// Others' tables as docker's, libvirt's and a firewall's are: filters, translations, sets, counters.
const FOREIGN: &str = r#"
table ip filter {
	set allowed {
		type ipv4_addr
		elements = { 192.0.2.1, 192.0.2.9 }
	}
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
		counter jump DOCKER-USER
	}
	chain DOCKER-USER {
		ip saddr @allowed counter accept
	}
}
table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat - 5; policy accept;
		tcp dport 4444 dnat to 192.0.2.9:80
	}
}
table inet firewalld {
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
	}
}
"#;

fn foreign(lan: &Lan, rules: &'static str) {
    lan.realm.run(async move { nft::apply(rules).await.unwrap() });
}

fn forward(port: u16, to: Ipv4Addr) -> NatForward {
    NatForward { proto: Protocol::Udp, address: Ipv4Addr::UNSPECIFIED, host: port, to, guest: 80 }
}

/// What guests send to each other is dropped, and goes through between peers.
fn check_isolation(a: &Guest, peer: &Guest, stranger: &Guest) {
    for to in [a, peer] {
        stranger.send_udp(to.ip, 7, b"from a stranger");
    }
    settle(stranger);
    a.send_udp(peer.ip, 7, b"from its peer");
    peer.receive("the peer's datagram and no other", |frame| {
        let text = String::from_utf8_lossy(frame);
        assert!(!text.contains("stranger"), "{text:?}");
        text.contains("from its peer").then_some(())
    });
}

#[test]
fn foreign_tables_stay_as_they_are() {
    in_namespaces("foreign::foreign_tables_stay_as_they_are", || {
        let lan = Lan::new();
        foreign(&lan, FOREIGN);
        let list = || async {
            let mut tables = String::new();
            for (family, table) in [("ip", "filter"), ("ip", "nat"), ("inet", "firewalld")] {
                tables += &nft::read_back(family, table).await.unwrap();
            }
            tables
        };
        let before = lan.realm.run(list());
        assert!(before.contains("DOCKER-USER"));
        let a = boot_as(&lan.realm, &lan.network, ruleset::Guest { egress: Egress::None, ..guest("a", 10) });
        lan.with(|network| async move {
            network.replace_forwards(&[forward(8080, [192, 168, 100, 10].into())]).await.unwrap();
            network.set_host_addresses(&[HOST]).await.unwrap();
            network.set_outside(None).await.unwrap();
            network.repair().await.unwrap();
            network.remove_guest(&VmName::new("a").unwrap()).await.unwrap();
            network.tear_down().await.unwrap();
        });
        drop(a);
        assert_eq!(lan.realm.run(list()), before);
        let tables = lan.realm.run(async { nft::json(&["list", "tables"]).await.unwrap() });
        assert!(!tables.contains("microvm-dev"), "{tables}");
    });
}

#[test]
fn a_foreign_drop_holds_and_a_foreign_accept_opens_nothing() {
    in_namespaces("foreign::a_foreign_drop_holds_and_a_foreign_accept_opens_nothing", || {
        let lan = Lan::new();
        let server = lan.server(SERVER, 7);
        let a = boot_as(&lan.realm, &lan.network, {
            ruleset::Guest { peers: vec![VmName::new("b").unwrap()], ..guest("a", 10) }
        });
        let b = boot(&lan.realm, &lan.network, "b", 11);
        let c = boot(&lan.realm, &lan.network, "c", 12);
        // With br_netfilter, a translation to a guest does not leave the bridge, and ends at its isolated port.
        lan.realm.shell(
            "setting=/proc/sys/net/bridge/bridge-nf-call-iptables; test ! -e $setting || echo 0 > $setting",
        );
        // Whichever comes first, ours at `filter` (0) or theirs.
        for priority in ["-10", "0", "10"] {
            let accept = format!(
                "table ip other\ndelete table ip other\ntable ip other {{\n\tchain forward {{\n\t\ttype filter hook forward \
                 priority {priority}; policy accept;\n\t\taccept\n\t}}\n\tchain input {{\n\t\ttype filter hook input \
                 priority {priority}; policy accept;\n\t\taccept\n\t}}\n\tchain prerouting {{\n\t\ttype nat hook prerouting \
                 priority -101; policy accept;\n\t\tudp dport 9999 dnat to {}:7\n\t\tudp dport 9998 dnat to \
                 {SERVER}:7\n\t}}\n}}\n",
                b.ip
            );
            lan.realm.run(async move { nft::apply(&accept).await.unwrap() });
            check_isolation(&a, &b, &c);
            // A translation of theirs, from a guest to its peer, to a stranger, and to somebody outside.
            for (guest, port) in [(&a, 9999), (&c, 9999), (&c, 9998)] {
                guest.send_udp(HOST, port, b"translated, as from a stranger");
                guest.send_udp(guest.gateway, port, b"translated, as from a stranger");
                settle(guest);
            }
            c.send_udp(SERVER, 7, b"out");
            assert_eq!(up_to(&server, "out"), ["out"]);
            check_isolation(&a, &b, &c);
        }
        assert_eq!(dropped(&lan.realm, "inet", "a forward between guests"), 3 * 4);
        assert_eq!(dropped(&lan.realm, "inet", "a foreign forward"), 3 * 2);

        // docker's and ufw's way: what they don't know is dropped, and no accept of ours changes that.
        foreign(
            &lan,
            "delete table ip other\ntable ip other {\n\tchain forward {\n\t\ttype filter hook forward priority filter; policy \
             drop;\n\t}\n}\n",
        );
        c.send_udp(SERVER, 7, b"dropped");
        a.send_udp(b.ip, 7, b"dropped, too");
        settle(&c);
        settle(&a);
        // The remedy that `mvm doctor` names.
        foreign(
            &lan,
            "add rule ip other forward iifname \"virbr-mvm\" accept\nadd rule ip other forward oifname \"virbr-mvm\" accept",
        );
        c.send_udp(SERVER, 7, b"out again");
        assert_eq!(up_to(&server, "out again"), ["out again"]);
        check_isolation(&a, &b, &c);
    });
}

/// Sends from outside by a forward until it comes through: rules may be on their way.
fn comes_in(outside: &UdpSocket, guest: &Guest) {
    guest.ask(
        "a forwarded datagram",
        || {
            outside.send_to(b"forwarded", (HOST, 8080)).unwrap();
        },
        |frame| frame.ends_with(b"forwarded").then_some(()),
    );
}

#[test]
fn rules_that_others_flushed_are_made_anew() {
    in_namespaces("foreign::rules_that_others_flushed_are_made_anew", || {
        let lan = Lan::new();
        let server = lan.server(SERVER, 7);
        let outside = lan.server(SERVER, 6000);
        let a = boot_as(&lan.realm, &lan.network, {
            let egress = Egress::Allow { to: vec!["203.0.113.0/24".parse().unwrap()] };
            ruleset::Guest { peers: vec![VmName::new("b").unwrap()], egress, ..guest("a", 10) }
        });
        let b = boot(&lan.realm, &lan.network, "b", 11);
        let c = boot(&lan.realm, &lan.network, "c", 12);
        let (to, repaired) = (a.ip, std::sync::mpsc::channel());
        // As the keeper does it.
        lan.with(move |network| async move {
            network.replace_forwards(&[forward(8080, to)]).await.unwrap();
            let mut watch = Watch::open().unwrap();
            tokio::spawn(async move {
                loop {
                    let deletions = watch.deletions().await.unwrap();
                    if !network.made(&deletions).await && !network.intact().await.unwrap() {
                        network.repair().await.unwrap();
                        if repaired.0.send(network.intact().await.unwrap()).is_err() {
                            break;
                        }
                    }
                }
            });
        });
        for loss in [
            "nft flush ruleset",
            "nft delete table inet microvm-dev",
            "nft delete table netdev microvm-dev",
            "nft flush table inet microvm-dev",
            "nft flush chain inet microvm-dev between-guests",
            "nft flush chain netdev microvm-dev mvm-a",
            "nft delete table inet microvm-dev; nft add table inet microvm-dev",
        ] {
            lan.realm.shell(loss);
            let whole = repaired.1.recv_timeout(std::time::Duration::from_secs(20));
            assert_eq!(whole, Ok(true), "after `{loss}`");
            check_isolation(&a, &b, &c);
            comes_in(&outside, &a);
            a.send_udp(SERVER, 7, b"not allowed");
            a.send_ip(SERVER, 17, &crate::guest::udp(b.ip, SERVER, 1, 7, b"spoofed"));
            settle(&a);
            c.send_udp(SERVER, 7, b"out");
            assert_eq!(up_to(&server, "out"), ["out"], "after `{loss}`");
        }
        // What is ours, and what is none of ours, is no loss.
        lan.with(|network| async move {
            assert!(network.intact().await.unwrap());
            network.set_outside(None).await.unwrap();
            nft::apply("add table ip other\ndelete table ip other").await.unwrap();
            network.remove_guest(&VmName::new("b").unwrap()).await.unwrap();
            network.replace_forwards(&[]).await.unwrap();
            assert!(network.intact().await.unwrap());
        });
        // A guest whose VMM has died is not in the way.
        drop(c);
        lan.realm.shell("nft flush ruleset");
        assert_eq!(repaired.1.recv_timeout(std::time::Duration::from_secs(20)), Ok(true));
        drop(b);
    });
}

#[test]
fn a_change_after_a_loss_brings_all_rules_back() {
    in_namespaces("foreign::a_change_after_a_loss_brings_all_rules_back", || {
        let lan = Lan::new();
        let a = boot_as(&lan.realm, &lan.network, {
            ruleset::Guest { peers: vec![VmName::new("b").unwrap()], ..guest("a", 10) }
        });
        lan.realm.shell("nft flush ruleset");
        let b = boot(&lan.realm, &lan.network, "b", 11);
        let c = boot(&lan.realm, &lan.network, "c", 12);
        assert!(lan.with(|network| async move { network.intact().await.unwrap() }));
        check_isolation(&a, &b, &c);
    });
}

/// All rules that may be asked for are rules that nft takes, and come out in the shape they went in.
#[test]
fn nft_takes_whatever_is_rendered() {
    in_namespaces("foreign::nft_takes_whatever_is_rendered", || {
        use mvm_host::net::ruleset::{BridgeRules, HostService, Outside, Ruleset, render, shape};
        use proptest::collection::vec;
        use proptest::option;
        use proptest::prelude::*;
        use proptest::test_runner::{Config, TestRunner};
        let realm = crate::support::NetThread::spawn(crate::support::Place::New);
        let names = ["a", "a-much-longer-name-than-an-interface-may-have", "0", "x-y-z"]
            .map(|n| VmName::new(n).unwrap());
        for name in &names {
            realm.shell(&format!("ip link add {} type bridge", name.tap()));
        }
        let address = || any::<u32>().prop_map(Ipv4Addr::from_bits);
        let destination = prop_oneof![
            (any::<u32>(), 0u8..=32).prop_map(|(bits, prefix)| {
                let cidr = mvm_spec::net::Cidr { address: Ipv4Addr::from_bits(bits), prefix };
                mvm_spec::egress::Destination::Network(mvm_spec::net::Cidr {
                    address: cidr.network(),
                    prefix,
                })
            }),
            "[a-z]{1,8}\\.example".prop_map(|name| name.parse().unwrap()),
        ];
        let egress = prop_oneof![
            Just(Egress::Outbound),
            Just(Egress::None),
            vec(destination, 1..6).prop_map(|to| Egress::Allow { to }),
        ];
        let guest = (egress, option::of(1u16..), vec(0usize..4, 0..4));
        let forward = (any::<bool>(), option::of(address()), any::<u16>(), address(), 1u16..);
        let strategy = (
            vec(guest, 4),
            vec(forward, 0..20),
            option::of((any::<bool>(), option::of(address()), vec(address(), 0..5))),
            vec(prop_oneof![Just(HostService::Dns), Just(HostService::Dhcp)], 0..2),
        );
        let strategy = strategy.prop_map(|(guests, forwards, outside, services)| {
            let guests = guests.into_iter().zip(&names).enumerate().map(
                |(index, ((egress, resolver_port, peers), name))| ruleset::Guest {
                    name: name.clone(),
                    tap: name.tap(),
                    mac: name.mac(),
                    address: Ipv4Addr::new(10, 1, 0, index as u8 + 2),
                    gateway: Ipv4Addr::new(10, 1, 0, 1),
                    bridge: "virbr-mvm".into(),
                    peers: peers.into_iter().map(|peer| names[peer].clone()).collect(),
                    egress,
                    resolver_port,
                },
            );
            let mut known = std::collections::BTreeMap::new();
            for (udp, address, host, to, guest) in forwards {
                let proto = if udp { Protocol::Udp } else { Protocol::Tcp };
                let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
                known.insert((proto, address, host), NatForward { proto, address, host, to, guest });
            }
            Ruleset {
                bridges: vec![BridgeRules {
                    name: "virbr-mvm".into(),
                    address: "10.1.0.1/24".parse().unwrap(),
                }],
                services,
                outside: outside.map(|(link, resolver, host_addresses)| Outside {
                    link: link.then(|| "192.0.0.2/29".parse().unwrap()),
                    resolver,
                    host_addresses,
                }),
                guests: guests.collect(),
                forwards: known.into_values().collect(),
            }
        });
        // Each is eight processes, and all of it is done twice.
        let config = Config { failure_persistence: None, ..Config::with_cases(24) };
        TestRunner::new(config)
            .run(&strategy, |rules| {
                let text = render(&rules);
                let wanted = shape::of(&text);
                let found = realm.run(async move {
                    nft::apply(&text).await?;
                    let found = nft::list_terse("inet", ruleset::TABLE).await?;
                    Ok::<_, mvm_host::Error>(found + &nft::list_terse("netdev", ruleset::TABLE).await?)
                });
                prop_assert_eq!(
                    shape::of(&found.map_err(|error| TestCaseError::fail(error.to_string()))?),
                    wanted
                );
                // Each guest goes by itself, and leaves nothing behind.
                let changes: Vec<String> = rules
                    .guests
                    .iter()
                    .map(|guest| {
                        ruleset::remove_guest(&Ruleset { guests: Vec::new(), ..rules.clone() }, guest)
                    })
                    .collect();
                let left = realm.run(async move {
                    for change in changes {
                        nft::apply(&change).await?;
                    }
                    nft::read_back("inet", ruleset::TABLE).await
                });
                let left = left.map_err(|error| TestCaseError::fail(error.to_string()))?;
                for guest in &rules.guests {
                    prop_assert!(!left.contains(&guest.tap), "{} in {left}", guest.tap);
                }
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn changes_of_our_own_are_told_from_those_of_others() {
    in_namespaces("foreign::changes_of_our_own_are_told_from_those_of_others", || {
        let lan = Lan::new();
        let (deleted, seen) = std::sync::mpsc::channel();
        lan.with(move |network| async move {
            let mut watch = Watch::open().unwrap();
            tokio::spawn(async move {
                loop {
                    let deletions = watch.deletions().await.unwrap();
                    if deleted.send(network.made(&deletions).await).is_err() {
                        break;
                    }
                }
            });
        });
        // A change may be announced in parts, and parts of several changes together.
        let foreign = std::cell::Cell::new(0);
        let until = |ours: bool| loop {
            let of_ours =
                seen.recv_timeout(std::time::Duration::from_secs(20)).expect("nothing was announced");
            foreign.set(foreign.get() + u32::from(!of_ours));
            if of_ours == ours {
                break;
            }
        };
        let remove = || {
            let guest = boot(&lan.realm, &lan.network, "a", 10);
            lan.with(
                |network| async move { network.remove_guest(&VmName::new("a").unwrap()).await.unwrap() },
            );
            drop(guest);
        };
        remove();
        until(true);
        lan.realm.shell("nft flush chain inet microvm-dev between-guests");
        until(false);
        // One change of another is seen among ours.
        remove();
        lan.realm.shell("nft delete table netdev microvm-dev");
        until(false);
        lan.with(|network| async move { network.repair().await.unwrap() });
        remove();
        until(true);
        assert_eq!(foreign.get(), 2, "what others changed, and no more");
    });
}
