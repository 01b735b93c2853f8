//! Every cell of the table, with real guests: what must reach does, what must not leaves no trace at the receiver.

use crate::agent::{Outcome, nonce};
use crate::cells::{Attempt, Layer, Place, Stage, VMS};
use crate::table::{Expect, rows};
use crate::world::{Mode, World};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The bridge of the default topology.
pub const BRIDGE: &str = "virbr-mvm";

#[test]
fn the_matrix_holds_in_a_user_realm() {
    check(Mode::Ordinary);
}

#[test]
fn the_matrix_holds_in_a_user_realm_of_roots() {
    check(Mode::Root);
}

#[test]
fn the_matrix_holds_in_the_host_realm() {
    check(Mode::Host);
}

fn check(mode: Mode) {
    let Some(world) = World::new(mode) else { return };
    let vms = world.boot(&VMS);
    let realm = (mode != Mode::Host).then(|| {
        let agent = world.in_realm(BRIDGE);
        let any = json!([["0.0.0.0", 7000]]);
        agent.serve(json!({"raw": true, "tcp": any, "udp": any}));
        agent
    });
    let mut stage = Stage { world: &world, vms: &vms, realm: realm.as_ref(), gateway_mac: String::new() };
    let gateway = stage.agent(Place::Gateway);
    gateway.serve(json!({"sniff": [BRIDGE]}));
    stage.gateway_mac = mac_of(&gateway.sh(&format!("ip -json link show {BRIDGE}")));
    let failures = run(&stage);
    assert!(failures.is_empty(), "{mode:?}:\n{}", failures.join("\n"));
    // Nobody's place in the gateway's table was taken.
    let neighbours = stage.agent(Place::Gateway).sh(&format!("ip -json neigh show dev {BRIDGE}"));
    let neighbours: Vec<Value> = serde_json::from_str(&neighbours).unwrap();
    for vm in &vms {
        let known = neighbours.iter().find(|neighbour| neighbour["dst"] == vm.address);
        let known = known.unwrap_or_else(|| panic!("{} is not among {neighbours:?}", vm.address));
        assert_eq!(known["lladdr"], vm.mac, "{}", vm.name);
    }
}

/// The address in what `ip -json link` prints.
pub fn mac_of(json: &str) -> String {
    let links: Vec<Value> = serde_json::from_str(json).unwrap();
    links[0]["address"].as_str().unwrap().to_owned()
}

/// Tries all cells at once; gives what is not as it should be.
fn run(stage: &Stage) -> Vec<String> {
    let mut failures = Vec::new();
    let proven = control(stage, &mut failures);
    let cells: Vec<_> = rows()
        .iter()
        .flat_map(|row| {
            let expect = row.expect_in(stage.host_realm());
            row.cells().map(move |cell| (cell, expect)).collect::<Vec<_>>()
        })
        .map(|(cell, expect)| {
            let nonce = nonce();
            let mut attempt = stage.attempt(cell, &nonce);
            attempt.probe["hopeful"] = json!(expect == Expect::Reaches);
            (cell, expect, nonce, attempt)
        })
        .collect();
    let outcomes = try_all(stage, cells.iter().map(|(.., attempt)| (attempt.by, attempt.probe.clone())));
    let seen = all_seen(stage);
    for ((cell, expect, nonce, attempt), outcome) in cells.iter().zip(outcomes) {
        let mut fail = |text: String| failures.push(format!("{cell:?} expects {expect:?}: {text}"));
        for receiver in &attempt.receivers {
            let received = received(&seen, *receiver, nonce);
            match expect {
                Expect::Reaches if !received => fail(format!("{receiver:?} got nothing ({outcome:?})")),
                Expect::Blocked | Expect::Refused if received => fail(format!("{receiver:?} got it")),
                Expect::Blocked if !proven.contains(receiver) => {
                    fail(format!("{receiver:?} got nothing ever"))
                }
                _ => {}
            }
        }
        if let Some(text) = misses(*expect, attempt, &outcome) {
            fail(text);
        }
    }
    failures
}

/// What is wrong about the answer that the sender got.
fn misses(expect: Expect, attempt: &Attempt, outcome: &Outcome) -> Option<String> {
    let Outcome { outcome: how, detail } = outcome;
    let right = match expect {
        Expect::Reaches if !outcome.reached() => false,
        Expect::Reaches => {
            let content = detail.get("address").unwrap_or(detail);
            attempt.answer.as_ref().is_none_or(|answer| answer == content)
        }
        Expect::Blocked => how != "error" && !(attempt.answers_count && outcome.reached()),
        Expect::Refused => how == "refused",
    };
    (!right).then(|| format!("{how} {detail}"))
}

/// Which places are known to receive, and how: somebody who may has reached them.
fn control(stage: &Stage, failures: &mut Vec<String>) -> BTreeSet<(Place, Layer)> {
    let controls: Vec<_> = stage
        .controls()
        .into_iter()
        .map(|(by, receiver, layer, mut probe)| {
            let nonce = nonce();
            probe["nonce"] = json!(nonce);
            probe["hopeful"] = json!(true);
            if probe["how"] == "dns" {
                probe["name"] = json!(format!("{nonce}.plain.test"));
            }
            (by, (receiver, layer), probe, nonce)
        })
        .collect();
    let outcomes = try_all(stage, controls.iter().map(|(by, _, probe, _)| (*by, probe.clone())));
    let seen = all_seen(stage);
    let mut proven = BTreeSet::new();
    for ((by, receiver, probe, nonce), outcome) in controls.iter().zip(outcomes) {
        if outcome.reached() && received(&seen, *receiver, nonce) {
            proven.insert(*receiver);
        } else {
            failures.push(format!("control: {by:?} did not reach {receiver:?} with {probe}: {outcome:?}"));
        }
    }
    proven
}

/// All attempts at the same time; their outcomes in the same order.
fn try_all(stage: &Stage, attempts: impl Iterator<Item = (Place, Value)>) -> Vec<Outcome> {
    let attempts: Vec<_> = attempts.collect();
    // In the host realm the gateway is the host.
    let agent_of =
        |place: Place| if place == Place::Gateway && stage.host_realm() { Place::Host } else { place };
    let mut by_agent: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    for (index, (by, _)) in attempts.iter().enumerate() {
        by_agent.entry(agent_of(*by)).or_default().push(index);
    }
    for (place, indices) in &by_agent {
        let probes: Vec<_> = indices.iter().map(|index| &attempts[*index].1).collect();
        stage.agent(*place).send(&json!({"do": "probe", "probes": probes}));
    }
    let mut outcomes: Vec<Option<Outcome>> = vec![None; attempts.len()];
    for (place, indices) in &by_agent {
        let answers: Vec<Outcome> = serde_json::from_value(stage.agent(*place).receive()).unwrap();
        for (index, answer) in indices.iter().zip(answers) {
            outcomes[*index] = Some(answer);
        }
    }
    outcomes.into_iter().map(Option::unwrap).collect()
}

type Seen = BTreeMap<Place, BTreeMap<String, Vec<String>>>;

fn all_seen(stage: &Stage) -> Seen {
    let vms = (0..stage.vms.len()).map(Place::Vm);
    let places = vms.chain([Place::Host, Place::Gateway, Place::Lan, Place::Internet]);
    places.map(|place| (place, stage.agent(place).seen())).collect()
}

/// What is delivered has come in as well, but some interfaces nobody listens at.
fn received(seen: &Seen, (place, layer): (Place, Layer), nonce: &str) -> bool {
    let kinds = seen[&place].get(nonce);
    kinds.is_some_and(|kinds| layer == Layer::Frame || kinds.iter().any(|kind| kind == "local"))
}
