//! A VM that may reach some names only: its resolver, and the nft set that it fills.

use super::confined::assert_capabilities;
use super::server::Server;
use super::wire::{self, A, AAAA, MX, NXDOMAIN, PTR, Record, SRV, TXT};
use super::{
    BRIDGE, GATEWAY, add, addresses, ask_port, ask_until, guest, host, launcher, name, plan, realm, remove,
    servers, start,
};
use crate::support::{NetThread, in_namespaces};
use mvm_host::net::dnsmasq::{Resolver, ResolverPlan, Upstream};
use mvm_host::net::nft;
use mvm_host::net::ruleset::TABLE;
use std::net::Ipv4Addr;
use std::path::Path;

const PORT: u16 = 5400;
const OLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const NEW: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const THIRD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 3);

fn resolver_plan(dir: &Path, names: &[&str], upstream: Upstream) -> ResolverPlan {
    ResolverPlan {
        name: name("shop"),
        bridge: BRIDGE.into(),
        address: GATEWAY,
        port: PORT,
        dir: dir.join("dns-shop"),
        names: names.iter().map(ToString::to_string).collect(),
        set: "allow-shop".into(),
        upstream,
        hosts: dir.join("dns/conf/hosts"),
        log_queries: false,
    }
}

fn start_resolver(realm: &NetThread, plan: &ResolverPlan) -> Resolver {
    let plan = plan.clone();
    realm.run(async move { Resolver::start(&plan, &launcher()).await }).unwrap()
}

fn make_set(realm: &NetThread) {
    let text = format!("table inet {TABLE} {{\n\tset allow-shop {{\n\t\ttype ipv4_addr\n\t}}\n}}\n");
    realm.run(async move { nft::apply(&text).await }).unwrap();
}

/// The addresses in the set, in order.
fn allowed(realm: &NetThread) -> Vec<Ipv4Addr> {
    let table = realm.run(async { nft::read_back("inet", TABLE).await }).unwrap();
    let elements = table.split_once("elements = {").and_then(|(_, rest)| rest.split_once('}'));
    let elements = elements.map(|(elements, _)| elements).unwrap_or_default();
    let mut found: Vec<Ipv4Addr> = elements
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().unwrap())
        .collect();
    found.sort();
    found
}

#[test]
fn allowed_names_resolve_and_get_into_the_set_and_no_others() {
    in_namespaces("dns::restricted::allowed_names_resolve_and_get_into_the_set_and_no_others", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let upstream = Server::start(&realm, "127.0.0.1:5301");
        upstream.set("example.com", &[Record::A("example.com", OLD), Record::Aaaa("example.com")]);
        upstream.set(
            "www.example.com",
            &[
                Record::Cname("www.example.com", "edge.cdn.example"),
                Record::Cname("edge.cdn.example", "e1.cdn.example"),
                Record::A("e1.cdn.example", THIRD),
            ],
        );
        upstream.set("other.example", &[Record::A("other.example", [198, 51, 100, 1].into())]);
        make_set(&realm);
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&["127.0.0.1:5301"])));
        add(&realm, &dnsmasq, host("shop", 10));
        let names = ["example.com", "deb.debian.org"];
        let resolver =
            start_resolver(&realm, &resolver_plan(dir.path(), &names, servers(&["127.0.0.1:5301"])));
        let guest = guest(&realm, Some("192.168.100.10"));
        assert!(allowed(&realm).is_empty());
        let reply = ask_port(&guest, PORT, "example.com", A);
        assert_eq!((reply.addresses, reply.ttl), (vec![OLD], Some(60)), "it has to ask again soon");
        // In the set before the guest has the answer.
        assert_eq!(allowed(&realm), [OLD]);
        // The name moves: the next answer is the new one, and its address is in the set.
        upstream.set("example.com", &[Record::A("example.com", NEW)]);
        assert_eq!(ask_port(&guest, PORT, "example.com", A).addresses, [NEW]);
        assert_eq!(allowed(&realm), [OLD, NEW]);
        // A name below it, through aliases that are not allowed names themselves.
        assert_eq!(ask_port(&guest, PORT, "www.example.com", A).addresses, [THIRD]);
        assert_eq!(allowed(&realm), [OLD, NEW, THIRD]);
        assert_eq!(ask_port(&guest, PORT, "WWW.Example.COM", A).code, NXDOMAIN, "the fake zone's own answer");
        // After a reload of the rules the set is empty, and full again with the next answer.
        realm.shell(&format!("nft flush set inet {TABLE} allow-shop"));
        assert_eq!(ask_port(&guest, PORT, "example.com", A).addresses, [NEW]);
        assert_eq!(allowed(&realm), [NEW]);
        upstream.set("example.com", &[Record::A("example.com", NEW), Record::Aaaa("example.com")]);
        let v6 = ask_port(&guest, PORT, "example.com", AAAA);
        assert_eq!((v6.code, v6.kinds), (0, vec![]), "no IPv6 addresses");
        // Nothing else leaves, whatever is asked for.
        upstream.asked();
        for other in
            ["other.example", "com", "xexample.com", "example.com.evil.example", "debian.org", "plain"]
        {
            for kind in [A, AAAA, TXT, MX, SRV, PTR, 255, 65] {
                let reply = ask_port(&guest, PORT, other, kind);
                assert_eq!((reply.code, reply.addresses), (NXDOMAIN, vec![]), "{other} {kind}");
            }
        }
        for other in ["1.113.0.203.in-addr.arpa", "9.1.168.192.in-addr.arpa"] {
            assert_eq!(ask_port(&guest, PORT, other, PTR).code, NXDOMAIN, "{other}");
        }
        assert_eq!(upstream.asked(), []);
        assert_eq!(allowed(&realm), [NEW]);
        assert_capabilities(resolver.pid().unwrap(), 1 << 12);
    });
}

#[test]
fn a_restricted_vm_knows_the_names_of_vms() {
    in_namespaces("dns::restricted::a_restricted_vm_knows_the_names_of_vms", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let upstream = Server::start(&realm, "127.0.0.1:5301");
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&["127.0.0.1:5301"])));
        add(&realm, &dnsmasq, host("a", 10));
        assert_eq!(dnsmasq.hosts_dir(), dir.path().join("dns/conf/hosts"));
        // It reaches nothing outside, and needs no set.
        let plan = resolver_plan(dir.path(), &[], servers(&["127.0.0.1:5301"]));
        let resolver = start_resolver(&realm, &plan);
        let pid = resolver.pid();
        let guest = guest(&realm, Some("192.168.100.10"));
        assert_eq!(ask_port(&guest, PORT, "a.mvm", A).addresses, [Ipv4Addr::new(192, 168, 100, 10)]);
        assert_eq!(ask_port(&guest, PORT, "10.100.168.192.in-addr.arpa", PTR).names, ["a.mvm"]);
        assert_eq!(ask_port(&guest, PORT, "_gateway.mvm", A).addresses, [GATEWAY]);
        add(&realm, &dnsmasq, host("b", 11));
        ask_until(&guest, PORT, "b.mvm", |reply| reply.addresses == [Ipv4Addr::new(192, 168, 100, 11)]);
        remove(&realm, &dnsmasq, "a");
        ask_until(&guest, PORT, "a.mvm", |reply| reply.code == NXDOMAIN);
        assert_eq!(ask_port(&guest, PORT, "example.com", A).code, NXDOMAIN);
        assert_eq!(upstream.asked(), []);
        assert_eq!(resolver.pid(), pid);
        // It ends on its own, and the bridge's goes on.
        drop(resolver);
        assert_eq!(addresses(&guest, "b.mvm"), [Ipv4Addr::new(192, 168, 100, 11)]);
        let again = start_resolver(&realm, &plan);
        assert_eq!(ask_port(&guest, PORT, "b", A).addresses, [Ipv4Addr::new(192, 168, 100, 11)]);
        drop(again);
    });
}

#[test]
fn allowed_names_follow_the_hosts_name_servers() {
    in_namespaces("dns::restricted::allowed_names_follow_the_hosts_name_servers", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        make_set(&realm);
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&[])));
        let resolv = dir.path().join("resolv.conf");
        let plan = resolver_plan(dir.path(), &["example.com"], Upstream::ResolvConf(resolv.clone()));
        let resolver = start_resolver(&realm, &plan);
        let pid = resolver.pid();
        let upstream = Server::start(&realm, "127.0.0.1:53");
        upstream.set("example.com", &[Record::A("example.com", OLD)]);
        upstream.set("other.example", &[Record::A("other.example", NEW)]);
        let guest = guest(&realm, Some("192.168.100.10"));
        assert_eq!(ask_port(&guest, PORT, "example.com", A).code, NXDOMAIN, "the host is offline");
        std::fs::write(&resolv, "nameserver 127.0.0.1\n").unwrap();
        ask_until(&guest, PORT, "example.com", |reply| reply.addresses == [OLD]);
        assert_eq!(allowed(&realm), [OLD]);
        assert_eq!(ask_port(&guest, PORT, "other.example", A).code, NXDOMAIN);
        assert!(upstream.asked().iter().all(|asked| *asked == ("example.com".to_owned(), wire::A)));
        assert_eq!(resolver.pid(), pid);
        assert!(dnsmasq.pid().is_some());
    });
}
