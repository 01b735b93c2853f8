use super::*;
use mvm_spec::egress::Destination;

fn guest(name: &str, last: u8) -> Guest {
    let name = VmName::new(name).unwrap();
    Guest {
        tap: name.tap(),
        mac: name.mac(),
        address: Ipv4Addr::new(192, 168, 100, last),
        gateway: Ipv4Addr::new(192, 168, 100, 1),
        bridge: "virbr-mvm".into(),
        peers: Vec::new(),
        egress: Egress::Outbound,
        resolver_port: None,
        name,
    }
}

fn bridge() -> BridgeRules {
    BridgeRules { name: "virbr-mvm".into(), address: "192.168.100.1/24".parse().unwrap() }
}

fn outside() -> Outside {
    Outside {
        link: Some("192.0.0.2/29".parse().unwrap()),
        resolver: Some(Ipv4Addr::new(192, 0, 0, 3)),
        host_addresses: vec![Ipv4Addr::new(10, 9, 8, 7), Ipv4Addr::new(172, 17, 0, 1)],
    }
}

fn forward(text: &str) -> NatForward {
    let forward = text.parse::<mvm_spec::forward::ForwardRequest>().unwrap().forwards().next().unwrap();
    let Some(std::net::IpAddr::V4(address)) = forward.address else { panic!("{text} has no IPv4 address") };
    let to = Ipv4Addr::new(192, 168, 100, 10);
    NatForward { proto: forward.proto, address, host: forward.host, to, guest: forward.guest }
}

fn allowed() -> Guest {
    let to = ["example.com", "198.51.100.0/24", "198.51.100.7", "203.0.113.9"];
    let to = to.map(|text| text.parse::<Destination>().unwrap()).to_vec();
    Guest { egress: Egress::Allow { to }, resolver_port: Some(5401), ..guest("shop", 10) }
}

#[test]
fn the_frame_is_closed() {
    insta::assert_snapshot!(render(&Ruleset {
        services: vec![HostService::Dns, HostService::Dhcp],
        ..Ruleset::default()
    }));
}

#[test]
fn without_services_guests_reach_nothing_of_the_host() {
    let with = render(&Ruleset { services: vec![HostService::Dns, HostService::Dhcp], ..Ruleset::default() });
    let without = render(&Ruleset::default());
    let added: Vec<_> = with.lines().filter(|line| !without.contains(line)).collect();
    assert_eq!(added.len(), 3, "{added:?}");
    assert!(
        added.iter().all(|line| line.contains("th dport @dns") || line.contains("sport 68 udp dport 67"))
    );
}

#[test]
fn a_way_out_spares_the_host() {
    insta::assert_snapshot!(render_outside(Some(&outside())));
}

#[test]
fn a_guest_of_each_policy() {
    let ruleset = Ruleset {
        bridges: vec![bridge()],
        services: vec![HostService::Dns, HostService::Dhcp],
        guests: vec![
            allowed(),
            Guest { egress: Egress::None, resolver_port: Some(5402), ..guest("none", 11) },
            Guest {
                peers: vec![VmName::new("shop").unwrap(), VmName::new("absent").unwrap()],
                ..guest("peer", 12)
            },
        ],
        forwards: vec![forward("0.0.0.0:8080:80"), forward("10.9.8.7:53:53/udp"), forward("0.0.0.0:8081:81")],
        outside: Some(outside()),
    };
    let text = render(&ruleset);
    let frame = render(&Ruleset {
        services: ruleset.services.clone(),
        outside: Some(outside()),
        ..Ruleset::default()
    });
    let own: Vec<_> = text.lines().filter(|line| !frame.contains(line)).collect();
    insta::assert_snapshot!(own.join("\n"));
}

#[test]
fn a_guest_comes_and_goes_by_its_own_lines() {
    let peer = Guest { peers: vec![allowed().name], ..guest("peer", 12) };
    let mut ruleset = Ruleset { services: vec![HostService::Dns], guests: vec![peer], ..Ruleset::default() };
    ruleset.guests.extend((0..100).map(|last| guest(&format!("other-{last}"), 100 + last)));
    insta::assert_snapshot!(format!(
        "{}\n{}",
        add_guest(&ruleset, &allowed()),
        remove_guest(&ruleset, &allowed())
    ));
}

#[test]
fn forwards_are_replaced_by_their_own_elements() {
    let text = replace_forwards(&[forward("10.9.8.7:8080:81/udp"), forward("0.0.0.0:8080:82")]);
    insta::assert_snapshot!(text);
    assert_eq!(add_forwards(&[]), "");
}

#[test]
fn peers_are_there_only_while_both_are() {
    let a = Guest { peers: vec![VmName::new("b").unwrap()], ..guest("a", 10) };
    let b = guest("b", 11);
    let alone = Ruleset { guests: vec![a.clone()], ..Ruleset::default() };
    assert!(!render(&alone).contains("peers {  ") && !add_guest(&alone, &a).contains("peers"));
    assert!(
        add_guest(&alone, &b)
            .contains("add element inet microvm-dev peers { 192.168.100.11 . 192.168.100.10 }")
    );
    // Another guest on b's address is no peer.
    assert!(!add_guest(&alone, &Guest { address: b.address, ..guest("c", 11) }).contains("peers"));
}
