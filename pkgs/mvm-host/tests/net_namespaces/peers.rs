//! Pairs of guests that may reach each other, and bridges of one guest.

use crate::guest::{Guest, ethernet, ipv4, udp};
use crate::isolation::{arrived, boot, boot_as, dropped, guest, listen, settle};
use crate::lan::{Lan, SERVER, up_to};
use crate::support::in_namespaces;
use mvm_host::net::ruleset::{self, NatForward};
use mvm_host::net::topology::{BridgePerVm, Topology};
use mvm_host::net::{elements, mtu, nft};
use mvm_spec::VmName;
use mvm_spec::forward::Protocol;
use std::net::Ipv4Addr;

fn name(text: &str) -> VmName {
    VmName::new(text).unwrap()
}

fn with_peer(name: &str, last: u8, peer: &str) -> ruleset::Guest {
    ruleset::Guest { peers: vec![self::name(peer)], ..guest(name, last) }
}

/// Has `from` send to `to` as it would: it asks for the MAC address of its neighbour first.
fn reaches(from: &Guest, to: &Guest, text: &str) {
    let mac = from.resolve(to.ip);
    assert_eq!(mac, from.gateway_mac, "the bridge answers for other guests");
    from.send_udp(to.ip, 7, text.as_bytes());
    assert_eq!(to.receive_udp(text, from.ip), text.as_bytes());
}

#[test]
fn peers_on_a_shared_bridge_meet_by_way_of_the_rules() {
    in_namespaces("peers::peers_on_a_shared_bridge_meet_by_way_of_the_rules", || {
        let lan = Lan::new();
        let a = boot_as(&lan.realm, &lan.network, with_peer("a", 10, "b"));
        let b = boot(&lan.realm, &lan.network, "b", 11);
        let c = boot(&lan.realm, &lan.network, "c", 12);
        reaches(&a, &b, "to b");
        reaches(&b, &a, "to a");
        // Straight to the other's port of the bridge even peers don't come.
        let direct = ipv4(a.ip, b.ip, 17, &udp(a.ip, b.ip, 4000, 7, b"direct"));
        a.send(&ethernet(a.mac, b.mac, 0x0800, &direct));
        c.send_udp(a.ip, 7, b"from c");
        a.send_udp(c.ip, 7, b"to c");
        c.send_ping(b.ip);
        settle(&c);
        settle(&a);
        reaches(&a, &b, "after");
        assert_eq!(dropped(&lan.realm, "inet", "guest to guest"), 3);

        // The name counts, not the address: another guest on b's address is nobody's peer.
        drop(b);
        lan.with(|network| async move { network.remove_guest(&name("b")).await.unwrap() });
        let rules = lan.realm.run(async { nft::read_back("inet", ruleset::TABLE).await.unwrap() });
        assert!(!rules.contains("192.168.100.11"), "{rules}");
        let heir = boot(&lan.realm, &lan.network, "d", 11);
        a.send_udp(heir.ip, 7, b"to the heir");
        heir.send_udp(a.ip, 7, b"from the heir");
        settle(&a);
        settle(&heir);
        assert_eq!(dropped(&lan.realm, "inet", "guest to guest"), 5);
        drop(heir);
        lan.with(|network| async move { network.remove_guest(&name("d")).await.unwrap() });
        let b = boot(&lan.realm, &lan.network, "b", 11);
        reaches(&a, &b, "again");
    });
}

#[test]
fn two_guests_can_not_have_one_address() {
    in_namespaces("peers::two_guests_can_not_have_one_address", || {
        let lan = Lan::new();
        let _a = boot(&lan.realm, &lan.network, "a", 10);
        lan.with(|network| async move {
            let error = network.add_guest(guest("b", 10)).await.unwrap_err().to_string();
            assert!(error.contains("`b`") && error.contains("`a`"), "{error}");
            let nowhere = ruleset::Guest { bridge: "br-none".into(), ..guest("c", 11) };
            let error = network.add_guest(nowhere).await.unwrap_err().to_string();
            assert!(error.contains("no bridge `br-none` for VM `c`"), "{error}");
        });
        lan.realm.shell("fails ip link show mvm-b; fails ip link show mvm-c");
    });
}

#[test]
fn a_tap_of_somebody_else_stays_where_it_could_not_be_connected() {
    in_namespaces("peers::a_tap_of_somebody_else_stays_where_it_could_not_be_connected", || {
        let lan = Lan::new();
        lan.realm.shell("ip tuntap add mode tap name mvm-c");
        lan.with(|network| async move {
            let nowhere = ruleset::Guest { bridge: "br-none".into(), ..guest("c", 11) };
            let error = network.adopt_guest(nowhere).await.unwrap_err().to_string();
            assert!(error.contains("`br-none`"), "{error}");
            network.remove_guest(&name("c")).await.unwrap();
        });
        lan.realm.shell("ip link show mvm-c");
    });
}

/// A guest on a bridge of its own.
fn boot_alone(lan: &Lan, vm: &str, peers: &[&str], taken: &mut Vec<mvm_spec::latest::Network>) -> Guest {
    let topology = BridgePerVm { pool: "10.0.0.0/8".parse().unwrap(), busy: Vec::new() };
    let place = topology.place(&name(vm), taken).unwrap();
    taken.push(place.clone());
    let plan = topology.bridge(&place, mtu::ETHERNET);
    lan.with(move |network| async move {
        network.ensure_bridge(&plan).await.unwrap();
        network.ensure_bridge(&plan).await.unwrap();
    });
    let guest = ruleset::Guest {
        address: place.address.address,
        gateway: place.gateway,
        bridge: place.bridge,
        peers: peers.iter().map(|peer| name(peer)).collect(),
        ..guest(vm, 0)
    };
    boot_as(&lan.realm, &lan.network, guest)
}

#[test]
fn bridges_of_one_guest_are_as_closed_and_go_with_it() {
    in_namespaces("peers::bridges_of_one_guest_are_as_closed_and_go_with_it", || {
        let lan = Lan::new();
        let mut taken = Vec::new();
        let a = boot_alone(&lan, "a", &["b"], &mut taken);
        let b = boot_alone(&lan, "b", &[], &mut taken);
        let c = boot_alone(&lan, "c", &[], &mut taken);
        assert_eq!([a.ip, b.ip, c.ip], [1, 2, 3].map(|n| Ipv4Addr::new(10, n, 0, 2)));
        let dns = listen(&lan.realm, "10.1.0.1:53");
        let server = lan.server(SERVER, 7);
        a.send_udp(b.ip, 7, b"to b");
        assert_eq!(b.receive_udp("a's datagram", a.ip), b"to b");
        b.send_udp(a.ip, 7, b"to a");
        assert_eq!(a.receive_udp("b's datagram", b.ip), b"to a");
        c.send_udp(a.ip, 7, b"from c");
        a.send_udp(c.ip, 7, b"to c");
        // The DNS of its own bridge, not that of another's.
        c.send_udp(a.gateway, 53, b"from c");
        a.send_udp(a.gateway, 53, b"from a");
        for guest in [&a, &b, &c] {
            guest.send_udp(SERVER, 7, guest.ip.to_string().as_bytes());
            settle(guest);
        }
        assert_eq!(up_to(&server, "10.3.0.2"), ["10.1.0.2", "10.2.0.2", "10.3.0.2"]);
        assert_eq!(arrived(&dns), ["from a"]);
        assert_eq!(dropped(&lan.realm, "inet", "guest to guest"), 2);
        assert_eq!(dropped(&lan.realm, "inet", "guest to host"), 1);
        drop((a, b));
        lan.with(|network| async move {
            network.remove_guest(&name("a")).await.unwrap();
            network.remove_guest(&name("a")).await.unwrap();
            let rules = nft::read_back("inet", ruleset::TABLE).await.unwrap();
            assert!(
                !rules.contains("br-a") && !rules.contains("10.1.0.") && rules.contains("br-b"),
                "{rules}"
            );
        });
        lan.realm
            .shell("fails ip link show br-a; ip link show br-b; ip link show br-c; ip link show virbr-mvm");
        lan.with(|network| async move { network.tear_down().await.unwrap() });
        lan.realm.shell("fails ip link show br-b; fails ip link show br-c; fails ip link show virbr-mvm");
        drop(c);
    });
}

#[test]
fn forwards_lead_in_from_outside_and_not_from_other_guests() {
    in_namespaces("peers::forwards_lead_in_from_outside_and_not_from_other_guests", || {
        let lan = Lan::new();
        let none = ruleset::Guest { egress: mvm_spec::egress::Egress::None, ..with_peer("a", 10, "b") };
        let a = boot_as(&lan.realm, &lan.network, none);
        let b = boot(&lan.realm, &lan.network, "b", 11);
        let forward = |address: Ipv4Addr, host, to: &Guest, guest| NatForward {
            proto: Protocol::Udp,
            address,
            host,
            to: to.ip,
            guest,
        };
        let any = Ipv4Addr::UNSPECIFIED;
        let host = crate::lan::HOST;
        let all = [forward(any, 8080, &a, 80), forward(host, 8081, &a, 81), forward(any, 8081, &b, 7)];
        let added = all.clone();
        lan.with(move |network| async move {
            network.replace_forwards(&added).await.unwrap();
            network.replace_forwards(&added).await.unwrap();
        });
        let outside = lan.server(SERVER, 6000);
        for (port, text) in [(8080, "to 80"), (8081, "to 81")] {
            outside.send_to(text.as_bytes(), (host, port)).unwrap();
            assert_eq!(a.receive_udp(text, SERVER), text.as_bytes());
        }
        // The answer goes, though of itself a reaches nothing; and comes from the forwarded port.
        a.send_ip(SERVER, 17, &udp(a.ip, SERVER, 80, 6000, b"answer"));
        let mut buffer = [0; 100];
        let (length, from) = outside.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"answer"[..], (host, 8080).into()));
        a.send_udp(SERVER, 6000, b"of itself");
        // b, a peer, by the host's addresses; and the guest itself.
        for address in [host, b.gateway] {
            b.send_udp(address, 8080, b"by a forward");
            a.send_udp(address, 8080, b"to itself");
        }
        // The unforwarded address is as closed as ever.
        outside.send_to(b"uninvited", (a.ip, 80)).unwrap();
        settle(&a);
        settle(&b);
        outside.send_to(b"last", (host, 8080)).unwrap();
        a.receive("the last datagram and no other", |frame| {
            let text = String::from_utf8_lossy(frame);
            assert!(!["forward", "itself", "uninvited"].iter().any(|no| text.contains(no)), "{text:?}");
            text.contains("last").then_some(())
        });
        assert_eq!(dropped(&lan.realm, "inet", "guest to host"), 4);

        // One key leads elsewhere, one goes; those that are gone already don't matter.
        let moved = forward(any, 8080, &b, 70);
        let gone = [all[0].clone(), all[1].clone()];
        let new = [moved.clone(), all[2].clone()];
        lan.with(move |_| async move {
            let error = elements::change(&[], &new).unwrap_err().to_string();
            assert!(error.contains("in use otherwise"), "{error}");
            elements::change(&gone, &new).unwrap();
            elements::change(&gone[1..], &new).unwrap();
        });
        let second = lan.server(SERVER, 6001);
        for port in [8080, 8081] {
            second.send_to(b"now b", (host, port)).unwrap();
            assert_eq!(b.receive_udp("what went to a before", SERVER), b"now b");
        }
        // What somebody else removed or put there is put right with the next change.
        let meddle = "delete element inet microvm-dev forwards { udp . 8080 }\n\
                      add element inet microvm-dev forwards { tcp . 1 : 192.168.100.10 . 1 }";
        let new = forward(any, 9000, &b, 90);
        lan.with(move |network| async move {
            nft::apply(meddle).await.unwrap();
            network.replace_forwards(std::slice::from_ref(&new)).await.unwrap();
            let rules = nft::read_back("inet", ruleset::TABLE).await.unwrap();
            assert!(
                rules.contains(" . 9000 : 192")
                    && !rules.contains(" . 8080 :")
                    && !rules.contains(" . 1 : 192"),
                "{rules}"
            );
            network.replace_forwards(&[new]).await.unwrap();
            network.replace_forwards(&[]).await.unwrap();
            let rules = nft::read_back("inet", ruleset::TABLE).await.unwrap();
            assert!(!rules.contains(" . 9000 :"), "{rules}");
        });
    });
}
