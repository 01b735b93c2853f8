//! DHCP, for guests that ask.

use crate::agent::Outcome;
use crate::world::{Mode, World};
use serde_json::json;

#[test]
fn dhcp_offers_a_vm_its_own_address_and_nobody_elses_offers_arrive() {
    let Some(world) = World::new(Mode::Host) else { return };
    let vms = world.boot(&["a", "b"]);
    let [a, b] = &vms[..] else { panic!("two VMs") };
    let mtu = a.agent.sh("cat /sys/class/net/[!l]*/mtu");
    for vm in &vms {
        let nonce = crate::agent::nonce();
        let outcome = vm.agent.probe(json!({"how": "dhcp", "nonce": nonce, "hopeful": true}));
        let Outcome { outcome, detail } = outcome;
        assert_eq!(outcome, "reaches", "{}", vm.name);
        assert_eq!(
            detail,
            json!({
                "address": vm.address,
                "mask": ["255.255.255.0"],
                "router": [vm.gateway],
                "dns": [vm.gateway],
                "domain": "mvm",
                "mtu": mtu.trim().parse::<u32>().unwrap(),
                "server": [vm.gateway],
            })
        );
    }
    // Who asks as somebody else is not heard.
    let foreign = json!({"how": "dhcp", "mac": "02:00:00:00:00:77"});
    let realm = world.in_realm(crate::matrix::BRIDGE);
    realm.serve(json!({"sniff": [crate::matrix::BRIDGE]}));
    a.agent.probe_is_kept(foreign, &realm);
    // A rogue server's offers, to all and to one, arrive nowhere.
    for target in ["ff:ff:ff:ff:ff:ff", b.mac.as_str()] {
        let rogue = json!({
            "how": "frames", "frame": "rogue-dhcp", "to": b.address, "source": a.address, "target_mac": target,
        });
        a.agent.probe_is_kept(rogue.clone(), &b.agent);
        a.agent.probe_is_kept(rogue, &realm);
    }
}
