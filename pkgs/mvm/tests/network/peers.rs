//! Pairs of VMs that reach each other.

use crate::agent::Agent;
use crate::vms::{PORT, Vm};
use crate::world::{Mode, World};

fn meet(one: &Vm, other: &Vm) {
    for how in ["icmp", "tcp", "udp"] {
        one.agent.reaches(how, &other.address, PORT);
        other.agent.reaches(how, &one.address, PORT);
    }
}

fn is_kept_from(one: &Agent, other: &Vm) {
    for how in ["icmp", "tcp", "udp"] {
        one.is_kept_from(how, &other.address, PORT, &other.agent);
    }
}

#[test]
fn a_named_pair_reaches_each_other_and_a_third_neither() {
    let Some(world) = World::new(Mode::Ordinary) else { return };
    // One of them names the other before that exists.
    let vms = world.boot(&["a --peer b", "b", "c"]);
    let [a, b, c] = &vms[..] else { panic!("three VMs") };
    meet(a, b);
    for (from, to) in [(c, a), (c, b), (a, c), (b, c)] {
        is_kept_from(&from.agent, to);
    }
    // The pair holds when one of them was away.
    world.ok(["stop", "b", "--yes"]);
    world.ok(["start", "b"]);
    let b = world.enter("b").serve();
    meet(a, &b);
    is_kept_from(&c.agent, &b);
}
