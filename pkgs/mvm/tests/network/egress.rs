//! What VMs may reach outside.

use crate::vms::{PORT, Vm};
use crate::world::{INTERNET, LAN, LISTED, Mode, World};
use serde_json::json;

/// Where else the internet answers.
const MOVED: &str = "198.51.100.2";
/// And where it answers for a name that nobody listed.
const OTHER: &str = "198.51.100.3";

fn refused_packets(world: &World, vm: &Vm, to: &str) -> u64 {
    let status = world.status(&vm.name);
    status["denied"][to]["packets"].as_u64().unwrap_or_else(|| panic!("no count of {to} in {status}"))
}

#[test]
fn a_list_of_names_and_networks_is_all_that_a_vm_reaches() {
    let Some(world) = World::new(Mode::Ordinary) else { return };
    world.internet.sh(&format!("ip addr add {OTHER}/32 dev lo"));
    let names = |listed| {
        let below = ("below.listed.test", MOVED);
        world.internet.names(&[("listed.test", listed), below, ("other.test", OTHER), ("isted.test", OTHER)]);
    };
    names(LISTED);
    let vms = world.boot(&["e --allow listed.test --allow 10.50.0.0/28", "a"]);
    let [vm, free] = &vms[..] else { panic!("two VMs") };
    let (agent, server) = (&vm.agent, vm.gateway.as_str());

    // A network.
    agent.reaches("tcp", LAN, 7);
    // A name, whose address is open only once somebody has asked for it.
    agent.is_kept_from("tcp", LISTED, 7, &world.internet);
    agent.comes_to_resolve(server, "listed.test", Some(LISTED));
    for how in ["tcp", "udp", "icmp"] {
        agent.reaches(how, LISTED, 7);
    }
    // As programs ask.
    assert!(agent.sh("getent hosts listed.test").starts_with(LISTED));
    // By TCP, too.
    let by_tcp = json!({"how": "dns", "to": server, "name": "listed.test", "tcp": true, "hopeful": true});
    assert_eq!(agent.probe(by_tcp).detail, LISTED);

    // Another address of the same name.
    agent.is_kept_from("tcp", MOVED, 7, &world.internet);
    names(MOVED);
    agent.comes_to_resolve(server, "listed.test", Some(MOVED));
    agent.reaches("tcp", MOVED, 7);
    // A name below it, and one that only ends alike.
    agent.comes_to_resolve(server, "below.listed.test", Some(MOVED));
    assert_eq!(agent.resolves(server, "isted.test"), None);

    // Another name does not resolve, nor does the question get out; its address is closed, by its number as well.
    let before = refused_packets(&world, vm, "outside");
    agent.probe_is_kept(json!({"how": "dns", "to": server, "name": "other.test"}), &world.internet);
    for _ in 0..2 {
        let question = crate::agent::nonce();
        assert_eq!(agent.resolves(server, &format!("{question}.other.test")), None);
        assert_eq!(agent.resolves(INTERNET, &format!("{question}.other.test")), None);
        assert!(!world.internet.seen().contains_key(&question), "a question got out");
    }
    agent.is_kept_from("tcp", OTHER, 7, &world.internet);
    agent.is_kept_from("udp", INTERNET, 7, &world.internet);
    // What was refused is counted.
    assert!(refused_packets(&world, vm, "outside") > before);
    // Other VMs are not concerned: they reach all of it.
    free.agent.reaches("tcp", OTHER, 7);
    assert_eq!(free.agent.resolves(server, "other.test").as_deref(), Some(OTHER));
    assert_eq!(refused_packets(&world, free, "outside"), 0);
    free.agent.is_kept_from("tcp", &vm.address, PORT, agent);
}

#[test]
fn with_no_egress_nothing_is_outside_but_vms_have_names() {
    let Some(world) = World::new(Mode::Host) else { return };
    let vms = world.boot(&["d --egress none", "a --peer d"]);
    let [vm, peer] = &vms[..] else { panic!("two VMs") };
    let places = [(INTERNET, &world.internet), (LAN, &world.lan)];
    let attempts = places.iter().flat_map(|(to, receiver)| {
        ["icmp", "tcp", "udp"].map(|how| (&vm.agent, json!({"how": how, "to": to, "port": 7}), *receiver))
    });
    crate::agent::all_are_kept(attempts.collect());
    assert!(refused_packets(&world, vm, "outside") > 0);
    assert_eq!(vm.agent.resolves(&vm.gateway, "plain.test"), None);
    vm.agent.comes_to_resolve(&vm.gateway, "a.mvm", Some(&peer.address));
    assert!(vm.agent.sh("getent hosts a").starts_with(&peer.address));
    // Egress is about the outside: a peer is not.
    vm.agent.reaches("tcp", &peer.address, PORT);
    peer.agent.reaches("tcp", &vm.address, PORT);
}
