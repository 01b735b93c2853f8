//! The other topology: a bridge for each VM.

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
    for how in ["icmp", "tcp", "udp"] {
        a.agent.reaches(how, INTERNET, 7);
        b.agent.is_kept_from(how, INTERNET, 7, &world.internet);
        a.agent.is_kept_from(how, HOST, 7000, &world.host);
        a.agent.is_kept_from(how, &a.gateway, 7000, &realm);
        // The gateway of another is no way in, either.
        a.agent.is_kept_from(how, &c.gateway, 7000, &realm);
        // The pair, and those that are none.
        a.agent.reaches(how, &b.address, PORT);
        b.agent.reaches(how, &a.address, PORT);
        for (from, to) in [(a, c), (c, a), (b, c), (c, b)] {
            from.agent.is_kept_from(how, &to.address, PORT, &to.agent);
        }
        world.lan.is_kept_from(how, &a.address, PORT, &a.agent);
        // Spoofed.
        let spoofed = json!({
            "how": "frames", "frame": how, "to": a.address, "port": PORT, "source": b.address, "target_mac": macs[2],
        });
        c.agent.probe_is_kept(spoofed, &a.agent);
    }
    a.agent.comes_to_resolve(&a.gateway, "*.plain.test", Some(INTERNET));
    for vm in &vms {
        let dhcp = json!({"how": "dhcp", "nonce": crate::agent::nonce(), "hopeful": true});
        assert_eq!(vm.agent.probe(dhcp).detail["address"], vm.address.as_str());
        a.agent.comes_to_resolve(&a.gateway, &format!("{}.mvm", vm.name), Some(&vm.address));
        vm.agent.comes_to_resolve(&vm.gateway, "a.mvm", Some(&a.address));
    }
    a.agent.reaches("tcp", LAN, 7);
    world.lan.reaches("tcp", HOST_LAN, 8080);
    c.agent.is_kept_from("tcp", HOST, 8080, &a.agent);

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
