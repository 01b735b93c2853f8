//! The host realm's nft maps, with the rules of a realm without guests.

use super::support::*;
use mvm_host::net::ruleset::{Ruleset, render};
use mvm_host::realm::RealmKind;
use std::io::Write;
use std::process::{Command, Stdio};

fn nft(text: &str) {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

/// The elements of both maps, as nft prints them, without blanks.
fn elements() -> String {
    let list = |map: &str| {
        let args = ["-n", "list", "map", "inet", "microvm-dev", map];
        let output = Command::new("nft").args(args).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let elements =
            text.split_once("elements = {").map(|(_, rest)| rest.split_once('}').unwrap().0.to_owned());
        let mut elements: Vec<String> = elements
            .unwrap_or_default()
            .split(',')
            .map(|element| element.split_whitespace().collect())
            .filter(|element: &String| !element.is_empty())
            .collect();
        elements.sort();
        elements.join(" ")
    };
    format!("{} | {}", list("forwards"), list("forwards-at"))
}

#[test]
fn maps_follow_what_is_stored() {
    in_namespaces_as_root("maps::maps_follow_what_is_stored", || {
        let world = World::with_vms(RealmKind::Host, &["web", "db"]);
        nft(&render(&Ruleset::default()));
        let _proxy = world.proxy();
        world.up("web");
        world.ok(&["add", "db", "0.0.0.0:9000:1"]);
        world.ok(&["add", "web", "8080:3000", "0.0.0.0:8081:3001", "192.168.100.0:53:54/udp", "[::]:8082:1"]);
        let expected = "6.8081:192.168.100.10.3001 | 192.168.100.0.17.53:192.168.100.10.54";
        assert_eq!(elements(), expected);
        assert_eq!(world.ok(&["sync"]), "all forwards are as stored\n");
        // Somebody's hand, and a table made anew.
        nft("delete element inet microvm-dev forwards { tcp . 8081 : 192.168.100.10 . 3001 }\n\
             add element inet microvm-dev forwards { tcp . 8081 : 192.168.100.77 . 1 }\n\
             add element inet microvm-dev forwards { udp . 1 : 192.168.100.10 . 1 }\n");
        assert_eq!(world.ok(&["sync"]), "nft maps: 1 added, 2 removed\n");
        assert_eq!(elements(), expected);
        nft(&render(&Ruleset::default()));
        assert_eq!(world.ok(&["sync"]), "nft maps: 2 added, 0 removed\n");
        // What is gone from the map already can be removed.
        nft("delete element inet microvm-dev forwards { tcp . 8081 : 192.168.100.10 . 3001 }\n");
        world.ok(&["remove", "web", "0.0.0.0:8081", "53/udp"]);
        assert_eq!(elements(), " | ");
        world.assert_agreement("at the end");
    });
}

#[test]
fn a_table_that_is_missing_takes_the_change_back() {
    in_namespaces_as_root("maps::a_table_that_is_missing_takes_the_change_back", || {
        let world = World::with_vms(RealmKind::Host, &["web"]);
        let _proxy = world.proxy();
        world.up("web");
        let text = world.refused(&["add", "web", "0.0.0.0:8081:3001", "8080:3000"]);
        assert!(text.contains("nft"), "{text}");
        assert_eq!(world.stored("web"), []);
        world.assert_agreement("after a failure of nft");
        // The proxy alone needs no table.
        world.ok(&["add", "web", "8080:3000"]);
    });
}

#[test]
fn ten_thousand_elements_are_synchronized() {
    in_namespaces_as_real_root("maps::ten_thousand_elements_are_synchronized", || {
        // Not mapped: all ids are there (user_namespaces(7)).
        let real = std::fs::read_to_string("/proc/self/uid_map").unwrap().contains("4294967295");
        let count = if real { 10_000 } else { 500 };
        let world = World::with_vms(RealmKind::Host, &["web"]);
        nft(&render(&Ruleset::default()));
        let _proxy = world.proxy();
        world.up("web");
        world.ok(&["add", "web", &format!("0.0.0.0:20000-{0}:20000-{0}", 20_000 + count - 1)]);
        nft("flush map inet microvm-dev forwards\n");
        let start = std::time::Instant::now();
        assert_eq!(world.ok(&["sync"]), format!("nft maps: {count} added, 0 removed\n"));
        println!("sync of {count} forwards after a flush: {:?}", start.elapsed());
        let start = std::time::Instant::now();
        world.ok(&["sync"]);
        println!("sync with nothing to do: {:?}", start.elapsed());
        for (what, port) in [("one more", "8080"), ("the next", "8081")] {
            let start = std::time::Instant::now();
            world.ok(&["add", "web", &format!("0.0.0.0:{port}:1")]);
            println!("{what}: {:?}", start.elapsed());
        }
    });
}
