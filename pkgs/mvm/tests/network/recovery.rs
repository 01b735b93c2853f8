//! What comes back by itself: helpers that were killed, rules that somebody else removed.

use crate::agent::Agent;
use crate::harness::wait_for;
use crate::matrix::BRIDGE;
use crate::vms::{PORT, Vm};
use crate::world::{HOST_LAN, INTERNET, LISTED, Mode, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::collections::BTreeSet;

/// The processes in the namespaces of host and bridge whose command line has the words.
fn processes(world: &World, words: &str) -> BTreeSet<i32> {
    let namespace = |path: &str| std::fs::read_link(path).ok();
    let host = namespace(&format!("/proc/{}/ns/net", world.host.pid()));
    let realm = namespace(&format!("{}/ns/net", world.thread_with(BRIDGE).unwrap()));
    let ours = |pid: &i32| {
        let own = namespace(&format!("/proc/{pid}/ns/net"));
        own.is_some() && (own == host || own == realm)
    };
    let has = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
    };
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(ours).filter(has).collect()
}

/// Kills them, and waits until there are others as many.
#[track_caller]
fn kill_all(world: &World, words: &str) {
    let old = processes(world, words);
    assert!(!old.is_empty(), "no process has `{words}` in its command line");
    for pid in &old {
        // One may be the parent of another, and take it along.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    wait_for(&format!("{words} to come back"), || {
        let new = processes(world, words);
        (new.len() >= old.len() && new.is_disjoint(&old)).then_some(())
    });
}

fn all_is_well(world: &World, a: &Vm, listed: &Vm) {
    a.agent.comes_to_resolve(&a.gateway, "e.mvm", Some(&listed.address));
    a.agent.comes_to_resolve(&a.gateway, "*.plain.test", Some(INTERNET));
    listed.agent.comes_to_resolve(&listed.gateway, "*.listed.test", Some(LISTED));
    listed.agent.reaches("tcp", LISTED, 7);
    a.agent.reaches("tcp", INTERNET, 7);
    world.host.reaches("tcp", "127.0.0.1", 8081);
    world.lan.reaches("udp", HOST_LAN, 8080);
    world.lan.reaches("tcp", HOST_LAN, 8080);
    assert_eq!(listed.agent.resolves(&listed.gateway, "plain.test"), None);
    listed.agent.is_kept_from("tcp", INTERNET, 7, &world.internet);
    a.agent.is_kept_from("tcp", &listed.address, PORT, &listed.agent);
}

const VMS: [&str; 2] =
    ["a --port 8081:3000 --port 0.0.0.0:8080:3000 --port 0.0.0.0:8080:3000/udp", "e --allow listed.test"];

#[test]
fn killed_helpers_come_back_with_all_they_knew() {
    let Some(world) = World::new(Mode::Ordinary) else { return };
    let vms = world.boot(&VMS);
    let [a, listed] = &vms[..] else { panic!("two VMs") };
    all_is_well(&world, a, listed);
    kill_all(&world, "dnsmasq");
    all_is_well(&world, a, listed);
    kill_all(&world, "internal proxy");
    all_is_well(&world, a, listed);
    // A forward after that is as good as one before.
    world.ok(["port", "a", "8082:3000"]);
    world.host.reaches("tcp", "127.0.0.1", 8082);
}

/// Somebody else's rules, which drop nothing.
const FOREIGN: &str = "table inet foreign {
	set busy {
		type ipv4_addr
		elements = { 192.0.2.1, 192.0.2.2 }
	}

	chain forward {
		type filter hook forward priority filter; policy accept;
		ip saddr @busy drop
	}
}
";

fn foreign(host: &Agent) -> String {
    host.sh("nft list table inet foreign")
}

#[test]
fn rules_that_somebody_removes_come_back_and_foreign_ones_stay() {
    let Some(world) = World::new(Mode::Host) else { return };
    let host = &world.host;
    let file = world.realm().path("foreign.nft");
    std::fs::write(&file, FOREIGN).unwrap();
    let load = format!("nft -f {}", file.display());
    host.sh(&load);
    let theirs = foreign(host);
    let vms = world.boot(&VMS);
    let [a, listed] = &vms[..] else { panic!("two VMs") };
    all_is_well(&world, a, listed);
    assert_eq!(foreign(host), theirs);
    let gateway_mac = world.mac_of(BRIDGE);
    let detour = json!({
        "how": "frames", "frame": "udp", "to": listed.address, "port": PORT, "source": a.address,
        "target_mac": gateway_mac,
    });
    for command in [&format!("nft flush ruleset; {load}"), "nft delete table inet microvm-dev"] {
        host.sh(command);
        wait_for("our rules to be back", || {
            let list = "nft list tables inet | grep -c microvm-dev || true";
            (host.sh(list).trim() == "1").then_some(())
        });
        all_is_well(&world, a, listed);
        a.agent.probe_is_kept(detour.clone(), &listed.agent);
        let spoofed = json!({
            "how": "frames", "frame": "udp", "to": INTERNET, "port": 7, "source": listed.address,
            "target_mac": gateway_mac,
        });
        wait_for("the tap's rules to be back", || {
            let list = "nft list tables netdev | grep -c microvm-dev || true";
            (host.sh(list).trim() == "1").then_some(())
        });
        a.agent.probe_is_kept(spoofed, &world.internet);
        assert_eq!(foreign(host), theirs);
    }
    drop(vms);
    world.ok(["delete", "--force", "--yes", "a", "e"]);
    wait_for("our rules to be gone", || (!host.sh("nft list tables").contains("microvm-dev")).then_some(()));
    assert_eq!(foreign(host), theirs);
}

/// Every step of a start that changes something outside the keeper.
const START_POINTS: [&str; 8] = [
    "start-rules",
    "start-bridged",
    "start-named",
    "start-attached",
    "start-launched",
    "start-proxied",
    "start-forwarded",
    "start-noted",
];

fn starts_after_crashes(mode: Mode) {
    let Some(world) = World::new(mode) else { return };
    world.ok([
        "create",
        "a",
        "--vcpu",
        "1",
        "--mem",
        "256",
        "--port",
        "8081:3000",
        "--port",
        "0.0.0.0:8080:3000",
    ]);
    let stored = world.ok(["port", "a", "--json"]);
    for point in START_POINTS {
        // The keeper, which the command starts, inherits the variable.
        let output = world.mvm(["start", "a"]).env("MVM_FAULT_POINT", point).output().unwrap();
        // Any other failure would be no crash.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("the keeper broke off"), "at `{point}`: {said}");
        // The kernel ends the proxy with the keeper.
        wait_for("the proxy to end", || {
            (world.ports(["sync", "--json"])["running"] == json!(false)).then_some(())
        });
        if mode == Mode::Host {
            let elements =
                world.host.sh("nft list table inet microvm-dev 2>/dev/null | grep -c ' : 192' || true");
            assert_eq!(elements.trim(), "0", "forwards are left over at {point}");
        }
        assert_eq!(world.ok(["port", "a", "--json"]), stored, "at {point}");
        assert_eq!(world.host.sh("ss -Hltn 'sport = :8080 or sport = :8081'"), "", "at {point}");
    }
    // One start after all of them, and everything is as after the first.
    world.ok(["start", "a"]);
    let a = world.enter("a").serve();
    a.agent.reaches("tcp", INTERNET, 7);
    world.host.reaches("tcp", "127.0.0.1", 8081);
    world.lan.reaches("tcp", HOST_LAN, 8080);
    assert_eq!(world.ports(["sync", "--json"])["maps"], json!({"added": 0, "removed": 0}));
    drop(a);
    world.ok(["delete", "--force", "--yes", "a"]);
    if mode == Mode::Host {
        wait_for("our rules to be gone", || {
            (!world.host.sh("nft list tables").contains("microvm-dev")).then_some(())
        });
        assert!(!world.host.sh("ip -br link").contains(BRIDGE));
    }
}

#[test]
fn a_start_that_crashed_at_any_step_leaves_nothing_that_a_sync_and_a_start_do_not_mend() {
    starts_after_crashes(Mode::Ordinary);
}

#[test]
fn in_the_host_realm_too_a_crashed_start_is_mended_by_a_sync_and_a_start() {
    starts_after_crashes(Mode::Host);
}
