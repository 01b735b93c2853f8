//! Pairs of VMs that reach each other.

use crate::agent::all_are_kept;
use crate::vms::{PORT, Vm};
use crate::world::{Mode, World};
use serde_json::json;

fn meet(one: &Vm, other: &Vm) {
    for how in ["icmp", "tcp", "udp"] {
        one.agent.reaches(how, &other.address, PORT);
        other.agent.reaches(how, &one.address, PORT);
    }
}

fn are_kept_apart(pairs: &[(&Vm, &Vm)]) {
    let attempts = pairs.iter().flat_map(|(from, to)| {
        ["icmp", "tcp", "udp"]
            .map(|how| (&from.agent, json!({"how": how, "to": to.address, "port": PORT}), &to.agent))
    });
    all_are_kept(attempts.collect());
}

#[test]
fn a_named_pair_reaches_each_other_and_a_third_neither() {
    let Some(world) = World::new(Mode::Ordinary) else { return };
    // One of them names the other before that exists.
    let vms = world.boot(&["a --peer b", "b", "c"]);
    let [a, b, c] = &vms[..] else { panic!("three VMs") };
    meet(a, b);
    are_kept_apart(&[(c, a), (c, b), (a, c), (b, c)]);
    // The pair holds when one of them was away.
    world.ok(["stop", "b", "--yes"]);
    world.ok(["start", "b"]);
    let b = world.enter("b").serve();
    meet(a, &b);
    are_kept_apart(&[(c, &b)]);
}
