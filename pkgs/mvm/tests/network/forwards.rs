//! Ports of the host that lead into VMs.

use crate::agent::Agent;
use crate::harness::wait_for;
use crate::vms::PORT;
use crate::world::{HOST_LAN, Mode, World};
use serde_json::{Value, json};

const LOOPBACK: &str = "127.0.0.1";

#[test]
fn forwards_lead_into_vms_in_a_user_realm() {
    check(Mode::Ordinary);
}

#[test]
fn forwards_lead_into_vms_in_the_host_realm() {
    check(Mode::Host);
}

fn check(mode: Mode) {
    let Some(world) = World::new(mode) else { return };
    let vms = world.boot(&["a --port 7100:3000", "b"]);
    let [a, b] = &vms[..] else { panic!("two VMs") };
    let more = json!([["0.0.0.0", 3001], ["0.0.0.0", 3002]]);
    a.agent.serve(json!({"tcp": more, "udp": more}));
    let (host, lan) = (&world.host, &world.lan);

    // Given when it was made.
    host.reaches("tcp", LOOPBACK, 7100);
    // And while it runs: TCP and UDP, a range, two VMs on two ports.
    world.ok([
        "port",
        "a",
        "0.0.0.0:8080:3000",
        "0.0.0.0:8080:3000/udp",
        "3000-3002:3000-3002",
        "8081:3000/udp",
    ]);
    world.ok(["port", "b", "0.0.0.0:8090:3000"]);
    for port in 3000..=3002 {
        host.reaches("tcp", LOOPBACK, port);
    }
    host.reaches("tcp", "::1", 3001);
    host.reaches("udp", LOOPBACK, 8081);
    for how in ["tcp", "udp"] {
        host.reaches(how, LOOPBACK, 8080);
        lan.reaches(how, HOST_LAN, 8080);
    }
    lan.reaches("tcp", HOST_LAN, 8090);
    // What names no address is the host's alone.
    assert_eq!(lan.is_kept_from("tcp", HOST_LAN, 3001, &a.agent).outcome, "refused");
    assert_eq!(lan.is_kept_from("udp", HOST_LAN, 8081, &a.agent).outcome, "refused");
    // Any free port.
    let chosen = ports(&world, "b", &["0:3000"]).into_iter().find(|port| *port != 8090).unwrap();
    host.reaches("tcp", LOOPBACK, chosen);
    host.reaches("tcp", "::1", chosen);

    conflicts(&world);

    // Stopped it is closed, started again it is there.
    world.ok(["stop", "a", "--yes"]);
    closed(host, "tcp", 8080);
    closed(host, "udp", 8081);
    host.reaches("tcp", LOOPBACK, 8090);
    world.ok(["start", "a"]);
    let a = world.enter("a").serve();
    host.reaches("tcp", LOOPBACK, 8080);
    host.reaches("udp", LOOPBACK, 8081);
    lan.reaches("tcp", HOST_LAN, 8080);
    lan.reaches("udp", HOST_LAN, 8080);

    // Removed, alone.
    world.ok(["port", "a", "--remove", "0.0.0.0:8080:3000"]);
    closed(host, "tcp", 8080);
    assert_ne!(lan.is_kept_from("tcp", HOST_LAN, 8080, &a.agent).outcome, "reaches");
    lan.reaches("udp", HOST_LAN, 8080);
    // A port that is free again is anybody's.
    world.ok(["port", "b", "0.0.0.0:8080:3000"]);
    lan.reaches("tcp", HOST_LAN, 8080);

    // With the VM its forwards go.
    world.ok(["delete", "--force", "--yes", "a"]);
    closed(host, "udp", 8080);
    closed(host, "tcp", 7100);
    closed(host, "tcp", 3001);
    host.reaches("tcp", LOOPBACK, 8090);
    b.agent.reaches("tcp", crate::world::INTERNET, 7);
}

/// What is taken is refused, by name, and nothing changes.
fn conflicts(world: &World) {
    let host = &world.host;
    let before = ports(world, "b", &[]);
    let taken = world.refused(["port", "b", "8080:3000"]);
    assert!(taken.contains("8080") && taken.contains("`a`") | taken.contains(" a "), "{taken}");
    // By a program that listens already.
    host.serve(json!({"tcp": [[LOOPBACK, 9000]], "udp": [[LOOPBACK, 9001]]}));
    for (forwards, port) in
        [(&["9100:3000", "9000:3000"][..], "9000"), (&["9100:3000", "9001:3000/udp"], "9001")]
    {
        let taken = world.refused(["port", "b"].iter().chain(forwards));
        assert!(taken.contains(port), "{taken}");
    }
    assert_eq!(ports(world, "b", &[]), before, "all or nothing");
    closed(host, "tcp", 9100);
    host.reaches("tcp", LOOPBACK, 9000);
    // The other way round.
    let listen = format!(
        "if {} -c 'import socket; socket.create_server((\"{LOOPBACK}\", 8080))' 2>/dev/null; then exit 1; fi",
        crate::agent::PYTHON
    );
    host.sh(&listen);
    // An ordinary user's realm can't have the ports of root's services.
    if world.mode == Mode::Ordinary {
        let refused = world.refused(["port", "b", "80:3000"]);
        assert!(refused.contains("80") && refused.contains("ip_unprivileged_port_start"), "{refused}");
    }
}

/// The host's ports of a VM, after adding some.
fn ports(world: &World, name: &str, add: &[&str]) -> Vec<u16> {
    if !add.is_empty() {
        world.ok(["port", name].iter().chain(add));
    }
    let list: Value = serde_json::from_str(&world.ok(["port", name, "--list", "--json"])).unwrap();
    let mut ports = Vec::new();
    collect(&list, &mut ports);
    ports.sort_unstable();
    ports
}

/// Every number under `host`, wherever in the value it stands.
fn collect(value: &Value, ports: &mut Vec<u16>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, ports)),
        Value::Object(map) => {
            ports.extend(map.get("host").and_then(Value::as_u64).map(|port| u16::try_from(port).unwrap()));
            map.values().for_each(|value| collect(value, ports));
        }
        _ => {}
    }
}

/// Waits until nothing listens on the port of the host's loopback.
#[track_caller]
fn closed(host: &Agent, how: &str, port: u16) {
    wait_for(&format!("port {port}/{how} to be closed"), || {
        let probe = json!({"how": how, "to": LOOPBACK, "port": port, "nonce": crate::agent::nonce()});
        (host.probe(probe).outcome == "refused").then_some(())
    });
    assert_ne!(port, PORT);
}
