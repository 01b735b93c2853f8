//! A host without an uplink, and one whose uplink comes, goes and changes: a laptop.

use crate::agent::Agent;
use crate::world::{HOST, INTERNET, LAN, Mode, World};
use serde_json::json;

#[test]
fn guests_follow_the_uplink_in_a_user_realm() {
    check(Mode::Ordinary);
}

#[test]
fn guests_follow_the_uplink_in_the_host_realm() {
    check(Mode::Host);
}

fn check(mode: Mode) {
    let Some(world) = World::offline(mode) else { return };
    let vms = world.boot(&["a"]);
    let vm = &vms[0];
    let asks = |agent: &Agent, address| agent.comes_to_resolve(&vm.gateway, "*.plain.test", Some(address));
    // What is there works.
    vm.agent.reaches("tcp", LAN, 7);
    vm.agent.comes_to_resolve(&vm.gateway, "a.mvm", Some(&vm.address));
    assert_eq!(vm.agent.resolves(&vm.gateway, "plain.test"), None);

    // The uplink comes, and with it a name server.
    world.plug_in(HOST);
    world.write_resolv_conf(INTERNET);
    vm.agent.reaches("tcp", INTERNET, 7);
    vm.agent.reaches("udp", INTERNET, 7);
    asks(&vm.agent, INTERNET);
    vm.agent.is_kept_from("tcp", HOST, 7000, &world.host);

    // It goes, and comes with another address, which is the host's, too.
    world.unplug();
    assert!(!vm.agent.probe(json!({"how": "udp", "to": INTERNET, "port": 7, "nonce": "gone"})).reached());
    world.plug_in("203.0.113.9");
    vm.agent.reaches("tcp", INTERNET, 7);
    vm.agent.reaches("icmp", INTERNET, 7);
    asks(&vm.agent, INTERNET);
    vm.agent.is_kept_from("tcp", "203.0.113.9", 7000, &world.host);
    vm.agent.is_kept_from("udp", "203.0.113.9", 7000, &world.host);

    // Another name server.
    world.lan.names(&[("plain.test", "198.51.100.77")]);
    world.lan.serve(json!({"dns": [["0.0.0.0", 53]]}));
    world.write_resolv_conf(LAN);
    asks(&vm.agent, "198.51.100.77");
    // One on the host's loopback, as with systemd-resolved.
    world.host.names(&[("plain.test", "198.51.100.78")]);
    world.host.serve(json!({"dns": [["127.0.0.53", 53]]}));
    world.write_resolv_conf("127.0.0.53");
    asks(&vm.agent, "198.51.100.78");
    // And back.
    world.write_resolv_conf(INTERNET);
    asks(&vm.agent, INTERNET);
    vm.agent.sh("test \"$(cut -d. -f1 /proc/uptime)\" -gt 0");
}
