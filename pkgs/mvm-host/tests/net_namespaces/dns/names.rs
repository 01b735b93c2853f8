//! Names of VMs.

use super::server::Server;
use super::wire::{A, AAAA, NXDOMAIN, PTR, Record};
use super::{GATEWAY, add, addresses, ask, guest, host, name, plan, realm, remove, servers, start};
use crate::support::in_namespaces;
use std::net::Ipv4Addr;

fn vm(last: u8) -> Vec<Ipv4Addr> {
    vec![Ipv4Addr::new(192, 168, 100, last)]
}

#[test]
fn names_come_and_go_without_a_restart() {
    in_namespaces("dns::names::names_come_and_go_without_a_restart", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let upstream = Server::start(&realm, "127.0.0.1:5301");
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&["127.0.0.1:5301"])));
        let pid = dnsmasq.pid().unwrap();
        let guest = guest(&realm, Some("192.168.100.10"));
        assert_eq!(ask(&guest, "a.mvm", A).code, NXDOMAIN);
        add(&realm, &dnsmasq, host("a", 10));
        add(&realm, &dnsmasq, host("b-2", 11));
        add(&realm, &dnsmasq, host("a", 10));
        for (asked, last) in [("a.mvm", 10), ("a", 10), ("b-2.mvm", 11), ("b-2", 11), ("A.MVM", 10)] {
            assert_eq!(addresses(&guest, asked), vm(last), "{asked}");
        }
        assert_eq!(addresses(&guest, "_gateway.mvm"), [GATEWAY]);
        assert_eq!(ask(&guest, "10.100.168.192.in-addr.arpa", PTR).names, ["a.mvm"]);
        assert_eq!(ask(&guest, "1.100.168.192.in-addr.arpa", PTR).names, ["_gateway.mvm"]);
        let v6 = ask(&guest, "a.mvm", AAAA);
        assert_eq!((v6.code, v6.kinds), (0, vec![]), "a name that exists, and has no IPv6 address");
        // Another address, under which it is known at once, and no longer under the first.
        add(&realm, &dnsmasq, host("a", 12));
        assert_eq!(addresses(&guest, "a.mvm"), vm(12));
        assert_eq!(ask(&guest, "12.100.168.192.in-addr.arpa", PTR).names, ["a.mvm"]);
        assert_eq!(ask(&guest, "10.100.168.192.in-addr.arpa", PTR).code, NXDOMAIN);
        // The first address goes to another VM.
        add(&realm, &dnsmasq, host("c", 10));
        assert_eq!(ask(&guest, "10.100.168.192.in-addr.arpa", PTR).names, ["c.mvm"]);
        assert_eq!(dnsmasq.names().unwrap(), ["a", "b-2", "c"].map(name));
        remove(&realm, &dnsmasq, "a");
        remove(&realm, &dnsmasq, "a");
        remove(&realm, &dnsmasq, "never-there");
        for asked in ["a.mvm", "a", "never-there.mvm", "x.c.mvm"] {
            assert_eq!(ask(&guest, asked, A).code, NXDOMAIN, "{asked}");
        }
        assert_eq!(ask(&guest, "12.100.168.192.in-addr.arpa", PTR).code, NXDOMAIN);
        assert_eq!(addresses(&guest, "b-2.mvm"), vm(11));
        assert_eq!(dnsmasq.pid(), Some(pid), "the same process all the time");
        assert_eq!(upstream.asked(), [], "names and addresses of VMs are nobody else's business");
    });
}

#[test]
fn many_vms_come_and_go() {
    in_namespaces("dns::names::many_vms_come_and_go", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&[])));
        let guest = guest(&realm, Some("192.168.100.250"));
        for last in 10..110 {
            add(&realm, &dnsmasq, host(&format!("vm{last}"), last));
        }
        for last in (10..110).step_by(2) {
            remove(&realm, &dnsmasq, &format!("vm{last}"));
        }
        for last in 10..110 {
            let expected = if last % 2 == 0 { vec![] } else { vm(last) };
            assert_eq!(addresses(&guest, &format!("vm{last}.mvm")), expected);
        }
        assert_eq!(dnsmasq.names().unwrap().len(), 50);
    });
}

#[test]
fn killed_and_started_again_it_knows_what_it_knew() {
    in_namespaces("dns::names::killed_and_started_again_it_knows_what_it_knew", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let upstream = Server::start(&realm, "127.0.0.1:5301");
        upstream.set("example.com", &[Record::A("example.com", [203, 0, 113, 7].into())]);
        let plan = plan(dir.path(), servers(&["127.0.0.1:5301"]));
        let dnsmasq = start(&realm, &plan);
        add(&realm, &dnsmasq, host("a", 10));
        let guest = guest(&realm, Some("192.168.100.10"));
        let client = super::dhcp::Client::new(&guest);
        client.lease(host("a", 10).mac);
        let leases = || std::fs::read_to_string(dir.path().join("dns/run/leases")).unwrap();
        let before = leases();
        assert!(before.contains(" 192.168.100.10 "), "{before:?}");
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(dnsmasq.pid().unwrap() as i32),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        let ended = dnsmasq.clone();
        let why = realm.run(async move { ended.wait().await }).to_string();
        assert!(why.contains("no DNS and DHCP on the bridge virbr-mvm: `dnsmasq` ended (signal: 9"), "{why}");
        assert_eq!(dnsmasq.pid(), None);
        // What is asked of one that has ended says so, too.
        let ended = dnsmasq.clone();
        let error = realm.run(async move { ended.add(&host("b", 11)).await }).unwrap_err().to_string();
        assert_eq!(error, why);
        let again = start(&realm, &plan);
        assert_eq!(addresses(&guest, "a.mvm"), vm(10));
        assert_eq!(addresses(&guest, "b.mvm"), vm(11), "what was asked for meanwhile");
        assert_eq!(addresses(&guest, "example.com"), [Ipv4Addr::new(203, 0, 113, 7)]);
        assert_eq!(leases(), before);
        // Without the first one's end being noticed: dropping it does no harm to the second.
        drop(dnsmasq);
        remove(&realm, &again, "b");
        assert_eq!(addresses(&guest, "a.mvm"), vm(10));
    });
}
