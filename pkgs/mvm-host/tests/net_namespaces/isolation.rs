//! What a guest can reach, and as whom it can send.

use crate::guest::{Guest, arp, ethernet, ipv4, ping, udp};
use crate::support::{NetThread, Place, in_namespaces};
use mvm_host::net::link::{BridgePlan, Lifetime};
use mvm_host::net::ruleset::{self, HostService, Outside, TABLE};
use mvm_host::net::{Network, NetworkPlan, mtu, nft, tap};
use mvm_host::realm::RealmKind;
use mvm_spec::VmName;
use mvm_spec::egress::Egress;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 1);

pub fn plan() -> NetworkPlan {
    NetworkPlan {
        kind: RealmKind::User,
        mtu: mtu::ETHERNET,
        services: vec![HostService::Dns],
        dns: Vec::new(),
    }
}

pub fn bridge() -> BridgePlan {
    BridgePlan {
        name: "virbr-mvm".into(),
        address: "192.168.100.1/24".parse().unwrap(),
        mtu: mtu::ETHERNET,
        lifetime: Lifetime::Realm,
    }
}

/// What the rules should know of a guest on the shared bridge: no peers, free to reach out.
pub fn guest(name: &str, last: u8) -> ruleset::Guest {
    let name = VmName::new(name).unwrap();
    ruleset::Guest {
        tap: name.tap(),
        mac: name.mac(),
        address: Ipv4Addr::new(192, 168, 100, last),
        gateway: GATEWAY,
        bridge: bridge().name,
        peers: Vec::new(),
        egress: Egress::Outbound,
        resolver_port: None,
        name,
    }
}

/// A guest on a new port of the network.
pub fn boot(realm: &NetThread, network: &Arc<Network>, name: &str, last: u8) -> Guest {
    boot_as(realm, network, guest(name, last))
}

pub fn boot_as(realm: &NetThread, network: &Arc<Network>, guest: ruleset::Guest) -> Guest {
    let network = network.clone();
    let (mac, ip, gateway) = (guest.mac, guest.address, guest.gateway);
    let tap = realm.run(async move {
        let tap = tap::open(&guest.tap).unwrap();
        network.add_guest(guest).await.unwrap();
        tap
    });
    Guest::boot(tap, mac, ip, gateway)
}

/// A network with the shared bridge, on which somebody answers DNS.
pub fn set_up(realm: &NetThread) -> Arc<Network> {
    set_up_as(realm, plan())
}

pub fn set_up_as(realm: &NetThread, plan: NetworkPlan) -> Arc<Network> {
    let (network, warnings) = realm.run(async {
        let (network, warnings) = Network::set_up(plan).await.unwrap();
        network.ensure_bridge(&bridge()).await.unwrap();
        (network, warnings)
    });
    assert_eq!(warnings, Vec::<String>::new());
    Arc::new(network)
}

pub fn set_outside(realm: &NetThread, network: &Arc<Network>, outside: Outside) {
    let network = network.clone();
    realm.run(async move { network.set_outside(Some(outside)).await.unwrap() });
}

/// Packets that the rule with this comment has dropped.
pub fn dropped(realm: &NetThread, family: &'static str, comment: &str) -> u64 {
    let table = realm.run(async move { nft::read_back(family, TABLE).await.unwrap() });
    let rule = table.lines().find(|line| line.contains(&format!("\"{comment}"))).expect(comment);
    let mut words = rule.split_whitespace().skip_while(|word| *word != "packets");
    words.nth(1).unwrap().parse().unwrap()
}

/// A socket that collects what arrives.
pub fn listen(thread: &NetThread, address: &'static str) -> UdpSocket {
    thread.call(move || {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    })
}

pub fn arrived(socket: &UdpSocket) -> Vec<String> {
    let mut buffer = [0; 2000];
    std::iter::from_fn(|| {
        socket.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
    })
    .collect()
}

/// Waits until all that `guest` has sent before has been dealt with: its frames are taken in order.
pub fn settle(guest: &Guest) {
    guest.resolve(guest.gateway);
}

#[test]
fn a_guest_sends_as_itself_only() {
    in_namespaces("isolation::a_guest_sends_as_itself_only", || {
        let realm = NetThread::spawn(Place::New);
        let network = set_up(&realm);
        let dns = listen(&realm, "192.168.100.1:53");
        let a = boot(&realm, &network, "a", 10);
        let b = boot(&realm, &network, "b", 11);
        let query = |ip, text: &str| ipv4(ip, GATEWAY, 17, &udp(ip, GATEWAY, 4000, 53, text.as_bytes()));
        a.send(&ethernet(a.mac, a.gateway_mac, 0x0800, &query(b.ip, "spoofed address")));
        a.send(&ethernet(b.mac, a.gateway_mac, 0x0800, &query(b.ip, "spoofed MAC and address")));
        a.send(&ethernet(b.mac, a.gateway_mac, 0x0800, &query(a.ip, "spoofed MAC")));
        // A DHCP server's answer, and an IPv6 router's advertisement (only its Ethernet type matters).
        let offer = udp(a.ip, b.ip, 67, 68, b"rogue");
        a.send(&ethernet(a.mac, b.mac, 0x0800, &ipv4(a.ip, b.ip, 17, &offer)));
        a.send(&ethernet(a.mac, b.mac, 0x86dd, &[0x60; 40]));
        // "b's address is mine", with either MAC address in the frame, and "the gateway's address is mine".
        a.send(&arp(a.mac, a.mac, b.ip, GATEWAY));
        a.send(&arp(b.mac, a.mac, b.ip, GATEWAY));
        a.send(&arp(a.mac, a.mac, GATEWAY, b.ip));
        a.send(&arp(a.mac, b.mac, a.ip, GATEWAY));
        a.send(&ethernet(a.mac, a.gateway_mac, 0x0800, &query(a.ip, "honest")));
        settle(&a);
        assert_eq!(arrived(&dns), ["honest"]);
        realm.shell(&format!("ip neighbour show {} | grep -q {}", b.ip, b.mac));
        realm.shell(&format!("ip neighbour show {} | grep -q {}", a.ip, a.mac));
        for (comment, packets) in [
            ("spoofed address", 1),
            ("spoofed MAC", 3),
            ("spoofed ARP", 3),
            ("rogue DHCP server", 1),
            ("neither ARP nor IPv4", 1),
        ] {
            assert_eq!(dropped(&realm, "netdev", comment), packets, "{comment}");
        }
    });
}

#[test]
fn guests_do_not_reach_each_other_nor_the_host() {
    in_namespaces("isolation::guests_do_not_reach_each_other_nor_the_host", || {
        let realm = NetThread::spawn(Place::New);
        let network = set_up(&realm);
        // A way out for what may take it: without one, everything routed is dropped for that reason alone.
        set_outside(&realm, &network, Outside::default());
        let dns = listen(&realm, "192.168.100.1:53");
        let other = listen(&realm, "0.0.0.0:5353");
        let loopback = listen(&realm, "127.0.0.1:53");
        let a = boot(&realm, &network, "a", 10);
        let b = boot(&realm, &network, "b", 11);
        // Straight to b's MAC address, to everybody's, and by way of the gateway.
        let datagram = ipv4(a.ip, b.ip, 17, &udp(a.ip, b.ip, 4000, 7, b"direct"));
        a.send(&ethernet(a.mac, b.mac, 0x0800, &datagram));
        a.send(&ethernet(a.mac, mvm_spec::net::MacAddr([0xff; 6]), 0x0800, &datagram));
        a.send(&arp(a.mac, a.mac, a.ip, b.ip));
        a.send_udp(b.ip, 7, b"routed");
        a.send_ping(b.ip);
        // The host, by its services and its loopback.
        a.send_udp(GATEWAY, 5353, b"not listed");
        a.send_udp(Ipv4Addr::LOCALHOST, 53, b"loopback");
        a.send_udp(Ipv4Addr::LOCALHOST, 5353, b"loopback");
        a.send_udp(Ipv4Addr::UNSPECIFIED, 5353, b"this host");
        a.send(&ethernet(a.mac, a.gateway_mac, 0x0800, &ipv4(a.ip, GATEWAY, 1, &ping())));
        a.send_udp(GATEWAY, 53, b"query");
        settle(&a);
        assert_eq!(arrived(&dns), ["query"]);
        assert_eq!(arrived(&other), Vec::<String>::new());
        assert_eq!(arrived(&loopback), Vec::<String>::new());
        assert_eq!(dropped(&realm, "inet", "guest to guest"), 2);
        assert_eq!(dropped(&realm, "inet", "guest to host"), 2);
        // The host reaches b, and gets its answer; nothing of a's came to b before.
        let host = listen(&realm, "192.168.100.1:6000");
        host.send_to(b"from the host", (b.ip, 7)).unwrap();
        b.receive("the host's datagram", |frame| {
            let text = String::from_utf8_lossy(frame);
            assert!(!text.contains("direct") && !text.contains("routed"), "b got a's {text:?}");
            assert!(frame[12..14] != [8, 6] || frame[28..32] != a.ip.octets(), "b got a's ARP request");
            text.contains("from the host").then_some(())
        });
        b.send_ip(GATEWAY, 17, &udp(b.ip, GATEWAY, 7, 6000, b"answer"));
        settle(&b);
        assert_eq!(arrived(&host), ["answer"]);
        // Ports go and come again, with their rules.
        drop(a);
        let gone = network.clone();
        realm.run(async move {
            let name = VmName::new("a").unwrap();
            gone.remove_guest(&name).await.unwrap();
            gone.remove_guest(&name).await.unwrap();
        });
        let a = boot(&realm, &network, "a", 10);
        a.send_udp(GATEWAY, 53, b"again");
        settle(&a);
        assert_eq!(arrived(&dns), ["again"]);
        realm.run(async move { network.tear_down().await.unwrap() });
        realm.shell("fails ip link show virbr-mvm; fails nft list table inet microvm-dev");
    });
}

#[test]
fn guests_reach_out_masqueraded_and_nobody_reaches_in() {
    in_namespaces("isolation::guests_reach_out_masqueraded_and_nobody_reaches_in", || {
        let (realm, internet) = (NetThread::spawn(Place::New), NetThread::spawn(Place::New));
        realm.shell(&format!("ip link add wan type veth peer name inet netns {}", internet.tid));
        internet.shell(
            "ip link set lo up; ip link set inet up; ip address add 203.0.113.1/24 dev inet
             ip address add 169.254.169.254/32 dev lo; ip address add 198.51.100.1/32 dev lo
             ip route add 192.168.100.0/24 via 203.0.113.2",
        );
        realm.shell(
            "ip link set wan up; ip address add 203.0.113.2/24 dev wan; ip route add default via 203.0.113.1",
        );
        let network = set_up(&realm);
        let a = boot(&realm, &network, "a", 10);
        let server = listen(&internet, "198.51.100.1:7");
        let forbidden = ["169.254.169.254:7", "203.0.113.1:7"].map(|address| listen(&internet, address));
        let outside = Ipv4Addr::new(198, 51, 100, 1);
        a.send_udp(outside, 7, b"without an uplink");
        settle(&a);
        assert_eq!(arrived(&server), Vec::<String>::new());
        assert_eq!(dropped(&realm, "inet", "no uplink"), 1);
        let host_addresses = vec![[203, 0, 113, 1].into()];
        set_outside(&realm, &network, Outside { host_addresses, ..Outside::default() });
        a.send_udp([169, 254, 169, 254].into(), 7, b"metadata");
        a.send_udp([203, 0, 113, 1].into(), 7, b"host address");
        a.send_udp(outside, 7, b"hello");
        // Only the last has come, from the realm's own address, for the server knows a route to the guest's, too.
        server.set_nonblocking(false).unwrap();
        server.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let mut buffer = [0; 100];
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], peer.ip()), (&b"hello"[..], [203, 0, 113, 2].into()));
        assert_eq!(forbidden.each_ref().map(arrived), [Vec::<String>::new(), Vec::new()]);
        assert_eq!(dropped(&realm, "inet", "loopback, link-local"), 1);
        assert_eq!(dropped(&realm, "inet", "the host by its other names"), 1);
        server.send_to(b"uninvited", (a.ip, 9)).unwrap();
        server.send_to(b"welcome", peer).unwrap();
        assert_eq!(a.receive_udp("the server's answer", outside), b"welcome");
        assert_eq!(dropped(&realm, "inet", "outside to guest"), 1);
    });
}
