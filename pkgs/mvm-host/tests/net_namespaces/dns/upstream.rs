//! Names of the world outside.

use super::server::Server;
use super::wire::{self, A, AAAA, NXDOMAIN, PTR, Record};
use super::{
    DEADLINE, GATEWAY, addresses, ask, ask_until, guest, plan, realm, servers, socket, start, try_once,
};
use crate::support::in_namespaces;
use mvm_host::net::dnsmasq::Upstream;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

const FIRST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

#[test]
fn other_names_are_asked_upstream() {
    in_namespaces("dns::upstream::other_names_are_asked_upstream", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let upstream = Server::start(&realm, "127.0.0.1:5301");
        upstream.set("example.com", &[Record::A("example.com", FIRST), Record::Aaaa("example.com")]);
        // Names of the local network lead to private addresses: they stay.
        upstream.set("nas.lan", &[Record::A("nas.lan", [192, 168, 1, 9].into())]);
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&["127.0.0.1:5301"])));
        let guest = guest(&realm, Some("192.168.100.10"));
        assert_eq!(addresses(&guest, "example.com"), [FIRST]);
        assert_eq!(addresses(&guest, "nas.lan"), [Ipv4Addr::new(192, 168, 1, 9)]);
        let v6 = ask(&guest, "example.com", AAAA);
        assert_eq!(
            (v6.code, v6.kinds),
            (0, vec![]),
            "the server has an IPv6 address, which is no use to guests"
        );
        assert_eq!(ask(&guest, "missing.example", A).code, NXDOMAIN);
        let asked: Vec<_> = upstream.asked().into_iter().filter(|(_, kind)| *kind == A).collect();
        assert_eq!(asked, ["example.com", "nas.lan", "missing.example"].map(|name| (name.to_owned(), A)));
        // From memory; and what is never asked.
        assert_eq!(addresses(&guest, "example.com"), [FIRST]);
        assert_eq!(ask(&guest, "plain", A).code, NXDOMAIN);
        assert_eq!(ask(&guest, "9.1.168.192.in-addr.arpa", PTR).code, NXDOMAIN);
        assert_eq!(upstream.asked(), []);
        // By TCP, as after a truncated answer.
        let mut stream = guest.call(|| TcpStream::connect((GATEWAY, 53)).unwrap());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        for name in ["nas.lan", "_gateway.mvm"] {
            let query = wire::query(5, name, A);
            let length = u16::try_from(query.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &query].concat()).unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(wire::reply(&answer).addresses.len(), 1, "{name}");
        }
        // Told to forget, it asks again, and is the same process.
        let pid = dnsmasq.pid();
        upstream.set("example.com", &[Record::A("example.com", SECOND)]);
        dnsmasq.reload().unwrap();
        ask_until(&guest, 53, "example.com", |reply| reply.addresses == [SECOND]);
        assert_eq!(dnsmasq.pid(), pid);
    });
}

#[test]
fn upstream_may_go_and_come_back() {
    in_namespaces("dns::upstream::upstream_may_go_and_come_back", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&["127.0.0.1:5301", "127.0.0.1:5302"])));
        let guest = guest(&realm, Some("192.168.100.10"));
        // Offline from the start: no answer, or one that says so, and names of VMs as ever.
        let reply = try_once(&socket(&guest, 53), "offline.example", A);
        assert!(reply.as_ref().is_none_or(|reply| reply.code == 2 || reply.code == 5), "{reply:?}");
        assert_eq!(addresses(&guest, "_gateway.mvm"), [GATEWAY]);
        let first = Server::start(&realm, "127.0.0.1:5301");
        let second = Server::start(&realm, "127.0.0.1:5302");
        for name in ["one.example", "two.example", "three.example"] {
            first.set(name, &[Record::A(name, FIRST)]);
            second.set(name, &[Record::A(name, SECOND)]);
        }
        assert_eq!(addresses(&guest, "one.example"), [FIRST], "the first server comes first");
        assert_eq!(second.asked(), []);
        drop(first);
        // Asked again, as resolvers do, it takes the next.
        ask_until(&guest, 53, "two.example", |reply| reply.addresses == [SECOND]);
        let first = Server::start(&realm, "127.0.0.1:5301");
        first.set("three.example", &[Record::A("three.example", FIRST)]);
        assert_eq!(addresses(&guest, "three.example"), [FIRST]);
        assert!(dnsmasq.pid().is_some());
    });
}

#[test]
fn the_hosts_resolv_conf_is_followed() {
    in_namespaces("dns::upstream::the_hosts_resolv_conf_is_followed", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        let resolv = etc.join("resolv.conf");
        let dnsmasq = start(&realm, &plan(dir.path(), Upstream::ResolvConf(resolv.clone())));
        let pid = dnsmasq.pid();
        realm.shell("ip address add 127.0.1.1/8 dev lo; ip address add 127.0.1.2/8 dev lo");
        let servers = [("127.0.1.1:53", FIRST), ("127.0.1.2:53", SECOND)].map(|(address, answer)| {
            let server = Server::start(&realm, address);
            server.set("example.com", &[Record::A("example.com", answer)]);
            server
        });
        let guest = guest(&realm, Some("192.168.100.10"));
        // The host is offline, and has no such file.
        let reply = try_once(&socket(&guest, 53), "example.com", A);
        assert!(reply.as_ref().is_none_or(|reply| reply.code != 0), "{reply:?}");
        // One program writes it, another replaces it, a third puts a link in its place.
        std::fs::write(&resolv, "nameserver 127.0.1.1\n").unwrap();
        ask_until(&guest, 53, "example.com", |reply| reply.addresses == [FIRST]);
        std::fs::write(etc.join("new"), "# by another\nnameserver 127.0.1.2\nsearch lan\n").unwrap();
        std::fs::rename(etc.join("new"), &resolv).unwrap();
        ask_until(&guest, 53, "example.com", |reply| reply.addresses == [SECOND]);
        let run = dir.path().join("stub.conf");
        std::fs::write(&run, "nameserver 127.0.1.1\n").unwrap();
        std::os::unix::fs::symlink(&run, etc.join("link")).unwrap();
        std::fs::rename(etc.join("link"), &resolv).unwrap();
        ask_until(&guest, 53, "example.com", |reply| reply.addresses == [FIRST]);
        std::fs::write(&run, "nameserver 127.0.1.2\n").unwrap();
        ask_until(&guest, 53, "example.com", |reply| reply.addresses == [SECOND]);
        // Offline again: soon nobody is asked any more.
        std::fs::remove_file(&resolv).unwrap();
        let end = Instant::now() + DEADLINE;
        for new in 0.. {
            servers.iter().for_each(|server| drop(server.asked()));
            let reply = try_once(&socket(&guest, 53), &format!("new{new}.example"), A);
            // A refusal at once. A busy machine may take longer for an answer than is waited for.
            let refused = reply.is_some_and(|reply| reply.code == 5);
            if refused && servers.iter().all(|server| server.asked().is_empty()) {
                break;
            }
            assert!(Instant::now() < end, "the host's former name servers are still asked");
        }
        assert_eq!(dnsmasq.pid(), pid);
    });
}
