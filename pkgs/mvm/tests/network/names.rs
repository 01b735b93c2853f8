//! The VMs' names.

use crate::agent::nonce;
use crate::vms::Vm;
use crate::world::{INTERNET, Mode, World};
use serde_json::json;

#[test]
fn vms_have_names_as_long_as_they_are_there() {
    let Some(world) = World::new(Mode::Ordinary) else { return };
    let vms = world.boot(&["a", "b"]);
    let [a, b] = &vms[..] else { panic!("two VMs") };
    let server = a.gateway.as_str();

    // As programs ask: another's name, with and without the domain, and the VM's own.
    for (name, vm) in [("b", b), ("b.mvm", b)] {
        a.agent.comes_to_resolve(server, name, Some(&vm.address));
        let found = a.agent.sh(&format!("getent ahostsv4 {name}"));
        assert!(found.starts_with(&vm.address), "{name}: {found}");
    }
    for name in ["a", "a.mvm"] {
        let found = b.agent.sh(&format!("getent ahostsv4 {name}"));
        assert!(found.starts_with(&a.address), "{name}: {found}");
        let own = a.agent.sh(&format!("getent hosts {name}"));
        assert!(!own.is_empty(), "{name}: its own name");
    }
    // By address.
    let reverse = reversed(&b.address);
    let pointer = json!({"how": "dns", "to": server, "name": reverse, "pointer": true, "hopeful": true});
    assert!(a.agent.probe(pointer.clone()).detail.as_str().unwrap().contains("b.mvm"));
    // By TCP.
    let by_tcp = json!({"how": "dns", "to": server, "name": "b.mvm", "tcp": true, "hopeful": true});
    assert_eq!(a.agent.probe(by_tcp).detail, b.address.as_str());
    // Names outside.
    a.agent.comes_to_resolve(server, "*.plain.test", Some(INTERNET));
    // A VM that is not there is nobody else's business: the question stays in the house.
    let question = nonce();
    assert_eq!(a.agent.resolves(server, &format!("{question}.mvm")), None);
    assert!(!world.internet.seen().contains_key(&question), "a question about .mvm got out");

    // One that comes later, and goes.
    let later = world.boot(&["later"]);
    let [Vm { address, agent, .. }] = &later[..] else { panic!("one VM") };
    a.agent.comes_to_resolve(server, "later", Some(address));
    a.agent.comes_to_resolve(server, "later.mvm", Some(address));
    agent.comes_to_resolve(server, "b.mvm", Some(&b.address));
    drop(later);
    world.ok(["delete", "--force", "--yes", "later"]);
    a.agent.comes_to_resolve(server, "later.mvm", None);
    assert_eq!(a.agent.resolves(server, "b.mvm").as_deref(), Some(b.address.as_str()));
}

/// The name that an address is looked up by (RFC 1035, section 3.5).
fn reversed(address: &str) -> String {
    let parts: Vec<_> = address.split('.').rev().collect();
    format!("{}.in-addr.arpa", parts.join("."))
}
