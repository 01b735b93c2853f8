//! The other topology: a bridge for each VM.

use crate::agent::all_are_kept;
use crate::vms::{PORT, Vm};
use crate::world::{HOST, HOST_LAN, INTERNET, LAN, Mode, World};
use serde_json::json;

#[test]
fn each_vm_has_a_bridge_of_its_own() {
    check(Mode::Ordinary);
}

#[test]
fn each_vm_has_a_bridge_of_its_own_in_the_host_realm() {
    check(Mode::Host);
}

fn check(mode: Mode) {
    let Some(world) = World::offline(mode) else { return };
    world.configure("topology = \"bridge-per-vm\"\n");
    world.plug_in(HOST);
    world.write_resolv_conf(INTERNET);
    let vms = world.boot(&["a --port 0.0.0.0:8080:3000", "b --peer a --egress none", "c"]);
    let [a, b, c] = &vms[..] else { panic!("three VMs") };
    for (index, vm) in vms.iter().enumerate() {
        let number = index + 1;
        assert_eq!(vm.address, format!("10.{number}.0.2"));
        assert_eq!(vm.gateway, format!("10.{number}.0.1"));
    }
    let realm = world.in_realm("br-a");
    realm.serve(json!({"raw": true}));
    let gateway_mac = |vm: &Vm| {
        let bridge = format!("br-{}", vm.name);
        let addresses = realm.sh(&format!("ip -brief address show dev {bridge}"));
        assert!(addresses.contains(&format!("{}/24", vm.gateway)), "{addresses}");
        crate::matrix::mac_of(&realm.sh(&format!("ip -json link show {bridge}")))
    };
    let macs: Vec<_> = vms.iter().map(gateway_mac).collect();

    // Outside, the host's names, each other's names.
    let mut kept = Vec::new();
    for how in ["icmp", "tcp", "udp"] {
        a.agent.reaches(how, INTERNET, 7);
        // The pair.
        a.agent.reaches(how, &b.address, PORT);
        b.agent.reaches(how, &a.address, PORT);
        let to = |to: &str, port: u16| json!({"how": how, "to": to, "port": port});
        kept.push((&b.agent, to(INTERNET, 7), &world.internet));
        kept.push((&a.agent, to(HOST, 7000), &world.host));
        kept.push((&a.agent, to(&a.gateway, 7000), &realm));
        // The gateway of another is no way in, either.
        kept.push((&a.agent, to(&c.gateway, 7000), &realm));
        // Those that are no pair.
        for (from, other) in [(a, c), (c, a), (b, c), (c, b)] {
            kept.push((&from.agent, to(&other.address, PORT), &other.agent));
        }
        kept.push((&world.lan, to(&a.address, PORT), &a.agent));
        // As if it were the peer.
        let spoofed = json!({
            "how": "frames", "frame": how, "to": a.address, "port": PORT, "source": b.address, "target_mac": macs[2],
        });
        kept.push((&c.agent, spoofed, &a.agent));
    }
    kept.push((&c.agent, json!({"how": "tcp", "to": HOST, "port": 8080}), &a.agent));
    all_are_kept(kept);
    a.agent.comes_to_resolve(&a.gateway, "*.plain.test", Some(INTERNET));
    for vm in &vms {
        let dhcp = json!({"how": "dhcp", "nonce": crate::agent::nonce(), "hopeful": true});
        assert_eq!(vm.agent.probe(dhcp).detail["address"], vm.address.as_str());
        a.agent.comes_to_resolve(&a.gateway, &format!("{}.mvm", vm.name), Some(&vm.address));
        vm.agent.comes_to_resolve(&vm.gateway, "a.mvm", Some(&a.address));
    }
    a.agent.reaches("tcp", LAN, 7);
    world.lan.reaches("tcp", HOST_LAN, 8080);

    // With the VM its bridge goes; the others stay as they were, and the next takes the free number.
    world.ok(["delete", "--force", "--yes", "a"]);
    crate::harness::wait_for("the bridge to go", || {
        (!realm.sh("ip -brief link").contains("br-a")).then_some(())
    });
    let next = world.boot(&["next"]);
    assert_eq!(next[0].address, "10.1.0.2");
    c.agent.reaches("tcp", INTERNET, 7);
    next[0].agent.reaches("tcp", INTERNET, 7);
}
