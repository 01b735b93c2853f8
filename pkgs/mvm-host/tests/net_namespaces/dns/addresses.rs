//! Addresses by DHCP.

use super::dhcp::{self, Client};
use super::wire::{A, NXDOMAIN};
use super::{GATEWAY, add, ask, guest, host, plan, realm, remove, servers, start};
use crate::support::in_namespaces;
use mvm_spec::net::MacAddr;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Waits for all answers to what was sent: those that come before the answer to a machine that is known.
fn answers_before(client: &Client, known: MacAddr) -> Vec<MacAddr> {
    client.send(known, dhcp::DISCOVER, &[]);
    let end = Instant::now() + Duration::from_secs(20);
    let mut others = Vec::new();
    while let Some(answer) = client.receive(end) {
        if answer.mac == known {
            return others;
        }
        others.push(answer.mac);
    }
    panic!("no answer for {known}");
}

#[test]
fn a_known_machine_gets_its_address_and_an_unknown_one_nothing() {
    in_namespaces("dns::addresses::a_known_machine_gets_its_address_and_an_unknown_one_nothing", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&[])));
        add(&realm, &dnsmasq, host("a", 10));
        let machine = guest(&realm, None);
        let client = Client::new(&machine);
        let lease = client.lease(host("a", 10).mac);
        assert_eq!(lease.address, Ipv4Addr::new(192, 168, 100, 10));
        assert_eq!(lease.options[&dhcp::ROUTER], GATEWAY.octets());
        assert_eq!(lease.options[&dhcp::DNS], GATEWAY.octets());
        assert_eq!(lease.options[&dhcp::DOMAIN_NAME], b"mvm");
        assert_eq!(lease.options[&dhcp::MTU], 1400u16.to_be_bytes());
        assert_eq!(lease.options[&1], [255, 255, 255, 0], "the mask");
        let stranger = MacAddr([2, 0, 0, 0, 0, 99]);
        client.send(stranger, dhcp::DISCOVER, &[]);
        client.send(stranger, dhcp::REQUEST, &[(50, &[192, 168, 100, 10])]);
        assert_eq!(answers_before(&client, host("a", 10).mac), []);
        // The client has said that its name is `evil`.
        let guest = guest(&realm, Some("192.168.100.200"));
        for name in ["evil", "evil.mvm"] {
            assert_eq!(ask(&guest, name, A).code, NXDOMAIN, "{name}");
        }
        assert_eq!(ask(&guest, "a.mvm", A).addresses, [Ipv4Addr::new(192, 168, 100, 10)]);
    });
}

#[test]
fn a_lease_follows_its_machine_and_ends_with_it() {
    in_namespaces("dns::addresses::a_lease_follows_its_machine_and_ends_with_it", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&[])));
        let (a, b, c) = (host("a", 10), host("b", 10), host("c", 11));
        add(&realm, &dnsmasq, a.clone());
        add(&realm, &dnsmasq, c.clone());
        let machine = guest(&realm, None);
        let client = Client::new(&machine);
        assert_eq!(client.lease(a.mac).address, a.address);
        // Removed: name and lease are gone, and the address is free for another machine at once.
        remove(&realm, &dnsmasq, "a");
        let leases = std::fs::read_to_string(dir.path().join("dns/run/leases")).unwrap();
        assert!(!leases.contains("192.168.100.10"), "{leases}");
        client.send(a.mac, dhcp::DISCOVER, &[]);
        assert_eq!(answers_before(&client, c.mac), []);
        add(&realm, &dnsmasq, b.clone());
        assert_eq!(client.lease(b.mac).address, b.address);
        let asking = guest(&realm, Some("192.168.100.200"));
        assert_eq!(ask(&asking, "a.mvm", A).code, NXDOMAIN);
        assert_eq!(ask(&asking, "b.mvm", A).addresses, [b.address]);
        // The same machine with another address, and a third with the one it had.
        add(&realm, &dnsmasq, host("b", 20));
        assert_eq!(client.lease(b.mac).address, Ipv4Addr::new(192, 168, 100, 20));
        add(&realm, &dnsmasq, a.clone());
        assert_eq!(client.lease(a.mac).address, a.address);
    });
}
