//! Egress policies, and what is counted.

use crate::isolation::{GATEWAY, arrived, boot, boot_as, guest, listen, settle};
use crate::lan::{Lan, OTHER_SERVER, SERVER, up_to};
use crate::support::in_namespaces;
use mvm_host::net::counters::Denied;
use mvm_host::net::{nft, ruleset};
use mvm_spec::VmName;
use mvm_spec::egress::Egress;
use std::net::Ipv4Addr;

fn denied(lan: &Lan, name: &str) -> Denied {
    let name = VmName::new(name).unwrap();
    lan.with(move |network| async move { network.denied(&name).await.unwrap() })
}

#[test]
fn a_guest_reaches_what_its_policy_allows() {
    in_namespaces("policy::a_guest_reaches_what_its_policy_allows", || {
        let lan = Lan::new();
        let servers = [SERVER, OTHER_SERVER].map(|address| lan.server(address, 7));
        let none = ruleset::Guest { egress: Egress::None, ..guest("none", 11) };
        let none = boot_as(&lan.realm, &lan.network, none);
        let to = vec!["198.51.100.0/30".parse().unwrap(), "example.com".parse().unwrap()];
        let some = ruleset::Guest { egress: Egress::Allow { to }, ..guest("some", 12) };
        let set = ruleset::Guest::allow_set(&some.tap);
        let some = boot_as(&lan.realm, &lan.network, some);
        let open = boot(&lan.realm, &lan.network, "open", 13);
        for server in [SERVER, OTHER_SERVER] {
            none.send_udp(server, 7, b"none");
            some.send_udp(server, 7, b"some");
            open.send_udp(server, 7, b"open");
        }
        assert_eq!(up_to(&servers[0], "open"), ["some", "open"]);
        assert_eq!(up_to(&servers[1], "open"), ["open"]);
        // What the name has resolved to, as a resolver adds it: at once, and only for this guest.
        let add = format!("add element inet microvm-dev {set} {{ {OTHER_SERVER} }}");
        lan.realm.run(async move { nft::apply(&add).await.unwrap() });
        none.send_udp(OTHER_SERVER, 7, b"none");
        some.send_udp(OTHER_SERVER, 7, b"name");
        assert_eq!(up_to(&servers[1], "name"), ["name"]);
        // A name that resolves to where nobody may go leads nowhere.
        let add = format!("add element inet microvm-dev {set} {{ 169.254.169.254, 192.168.100.13 }}");
        lan.realm.run(async move { nft::apply(&add).await.unwrap() });
        some.send_udp([169, 254, 169, 254].into(), 7, b"metadata");
        some.send_udp(open.ip, 7, b"guest");
        settle(&some);
        assert_eq!(denied(&lan, "none").outside.packets, 3);
        let denied_some = denied(&lan, "some");
        assert_eq!((denied_some.outside.packets, denied_some.guests.packets), (2, 1));
        assert_eq!(denied_some.guests.bytes, 20 + 8 + 5);
        assert_eq!(denied(&lan, "open"), Denied::default());

        // Gone with all that is its own, and back with nothing of the old.
        drop(some);
        lan.with(|network| async move {
            network.remove_guest(&VmName::new("some").unwrap()).await.unwrap();
            let rules = nft::read_back("inet", ruleset::TABLE).await.unwrap();
            assert!(!rules.contains("mvm-some"), "{rules}");
            assert!(!rules.contains("192.168.100.12"), "{rules}");
        });
        let back =
            boot_as(&lan.realm, &lan.network, ruleset::Guest { egress: Egress::None, ..guest("some", 12) });
        back.send_udp(SERVER, 7, b"back");
        open.send_udp(SERVER, 7, b"open");
        assert_eq!(up_to(&servers[0], "open"), ["open"]);
        assert_eq!(denied(&lan, "some").outside.packets, 1);
    });
}

#[test]
fn a_resolver_of_its_own_gets_all_of_a_guests_queries() {
    in_namespaces("policy::a_resolver_of_its_own_gets_all_of_a_guests_queries", || {
        let lan = Lan::new();
        let common = listen(&lan.realm, "192.168.100.1:53");
        let own = listen(&lan.realm, "192.168.100.1:5401");
        let outside = lan.server(SERVER, 53);
        let some = ruleset::Guest { egress: Egress::None, resolver_port: Some(5401), ..guest("some", 11) };
        let some = boot_as(&lan.realm, &lan.network, some);
        let open = boot(&lan.realm, &lan.network, "open", 12);
        let lone =
            boot_as(&lan.realm, &lan.network, ruleset::Guest { egress: Egress::None, ..guest("lone", 13) });
        for (guest, name) in [(&some, "some"), (&open, "open"), (&lone, "lone")] {
            guest.send_udp(GATEWAY, 53, format!("{name} common").as_bytes());
            guest.send_udp(GATEWAY, 5401, format!("{name} own").as_bytes());
            guest.send_udp(SERVER, 53, format!("{name} outside").as_bytes());
            settle(guest);
        }
        assert_eq!(arrived(&common), ["open common"]);
        assert_eq!(arrived(&own), ["some common", "some own", "some outside"]);
        assert_eq!(up_to(&outside, "open outside"), ["open outside"]);
        // The answer comes from whom the guest had asked.
        some.send_udp(SERVER, 53, b"again");
        settle(&some);
        let mut buffer = [0; 100];
        let (length, peer) = own.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], peer.ip()), (&b"again"[..], some.ip.into()));
        own.send_to(b"answer", peer).unwrap();
        assert_eq!(some.receive_udp("the answer", SERVER), b"answer");
        assert_eq!(denied(&lan, "open").host.packets, 1);
        let lone = denied(&lan, "lone");
        assert_eq!((lone.host.packets, lone.outside.packets), (2, 1));
    });
}

#[test]
fn spoofed_packets_are_counted_for_who_sent_them() {
    in_namespaces("policy::spoofed_packets_are_counted_for_who_sent_them", || {
        use crate::guest::{arp, ethernet, ipv4, udp};
        let lan = Lan::new();
        let a = boot(&lan.realm, &lan.network, "a", 10);
        boot(&lan.realm, &lan.network, "b", 11);
        let b = Ipv4Addr::new(192, 168, 100, 11);
        a.send(&arp(a.mac, a.mac, b, GATEWAY));
        a.send(&ethernet(
            a.mac,
            a.gateway_mac,
            0x0800,
            &ipv4(b, GATEWAY, 17, &udp(b, GATEWAY, 1, 53, b"as b")),
        ));
        // What every system says by IPv6 of its own accord is dropped, and no accusation.
        a.send(&ethernet(a.mac, a.gateway_mac, 0x86dd, &[0x60; 40]));
        settle(&a);
        let Denied { spoofed, .. } = denied(&lan, "a");
        // Without their Ethernet headers.
        assert_eq!((spoofed.packets, spoofed.bytes), (2, 28 + 32));
        assert_eq!(denied(&lan, "b"), Denied::default());
        let absent = VmName::new("absent").unwrap();
        let error =
            lan.with(move |network| async move { network.denied(&absent).await.unwrap_err().to_string() });
        assert!(error.contains("`absent`"), "{error}");
    });
}
