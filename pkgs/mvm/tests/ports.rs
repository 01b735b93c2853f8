//! Forwards, peers and egress on the command line, with VMs that don't run: nothing listens, ports are only tried out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod support;

use serde_json::{Value, json};
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};
use support::keeper::Keeper;
use support::{Place, names};

fn output(place: &Place, args: &[&str], code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = place.mvm(args).output().unwrap();
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{args:?}: {stderr}");
    (stdout, stderr)
}

fn ok(place: &Place, args: &[&str]) -> (String, String) {
    output(place, args, 0)
}

fn refused(place: &Place, args: &[&str]) -> String {
    output(place, args, 1).1
}

fn parsed(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(&ok(place, args).0).unwrap()
}

/// A VM with forwards of free ports, and the ports.
fn with_ports(place: &Place, name: &str, requests: &[&str]) -> Vec<u64> {
    let mut args = vec!["create", name, "--no-project", "--json"];
    requests.iter().for_each(|request| args.extend(["--port", request]));
    let made = parsed(place, &args);
    made[0]["forwards"].as_array().unwrap().iter().map(|f| f["host"].as_u64().unwrap()).collect()
}

#[test]
fn forwards_are_made_with_a_vm_and_shown_everywhere() {
    let place = Place::new();
    let ports = with_ports(&place, "web", &["0:3000", "0:53/udp"]);
    assert!(ports.len() == 2 && ports.iter().all(|port| *port > 0), "{ports:?}");
    let lines = format!("127.0.0.1:{} -> web:3000/tcp\n127.0.0.1:{} -> web:53/udp\n", ports[0], ports[1]);
    let (listed, note) = ok(&place, &["port", "web"]);
    assert_eq!(listed, lines);
    assert!(note.contains("web does not run: served when it starts"), "{note}");
    let (table, _) = ok(&place, &["list"]);
    let short = format!("{}->3000, {}->53/udp", ports[0], ports[1]);
    assert!(table.contains("PORTS") && table.contains(&short), "{table}");
    let list = parsed(&place, &["list", "--json"]);
    assert_eq!(list[0]["forwards"][1], json!({"proto": "udp", "host": ports[1], "guest": 53}));
    assert_eq!(list[0]["egress"], json!({"policy": "outbound"}));
    let (status, _) = ok(&place, &["status", "web"]);
    assert!(lines.lines().all(|line| status.contains(line)), "{status}");
    let status = parsed(&place, &["status", "web", "--json"]);
    assert_eq!(status["forwards"][0]["state"], "stored");
    let listing = parsed(&place, &["port", "web", "--list", "--json"]);
    assert_eq!((&listing["running"], &listing["name"]), (&json!(false), &json!("web")));
    assert_eq!(listing["forwards"], status["forwards"]);
}

#[test]
fn forwards_are_added_and_removed() {
    let place = Place::new();
    let taken = with_ports(&place, "web", &["0:3000"])[0];
    place.mvm(&["create", "db", "--no-project"]).assert().success();
    let text = refused(&place, &["port", "db", "0:5432", &format!("{taken}:5432")]);
    assert!(text.contains(&format!("port {taken} is taken by VM web ({taken}:3000)")), "{text}");
    assert_eq!(ok(&place, &["port", "db"]).0, "");
    let added = parsed(&place, &["port", "db", "0:5432", "0:53/udp", "--json"]);
    let port = added["added"][0]["host"].as_u64().unwrap();
    let again = parsed(&place, &["port", "db", &format!("{port}:5432"), "--json"]);
    assert_eq!((&again["added"], &again["already"]), (&json!([]), &json!([added["added"][0].clone()])));
    let removed = parsed(&place, &["port", "db", "--remove", &port.to_string(), "--json"]);
    assert_eq!(removed["removed"], json!([added["added"][0].clone()]));
    let (_, note) = ok(&place, &["port", "db", "--remove", &port.to_string()]);
    assert!(note.contains(&format!("db has no forward {port}")), "{note}");
    ok(&place, &["port", "db", "--remove-all"]);
    assert_eq!(ok(&place, &["port", "db"]).0, "");
    assert!(refused(&place, &["port", "nosuch", "0:1"]).contains("there is no VM `nosuch`"));
    place.mvm(&["create", "alone", "--no-project", "--no-network"]).assert().success();
    assert!(refused(&place, &["port", "alone", "0:1"]).contains("has no network"));
    // They go with their VM.
    place.mvm(&["delete", "web"]).assert().success();
    ok(&place, &["port", "db", &format!("{taken}:5432")]);
}

#[test]
fn a_vm_whose_port_is_taken_is_not_made() {
    let place = Place::new();
    let taken = with_ports(&place, "web", &["0:3000"])[0];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = listener.local_addr().unwrap().port();
    for (request, said) in [
        (format!("{taken}:1"), "taken by VM web".to_owned()),
        (format!("{busy}:1"), format!("(process {})", std::process::id())),
    ] {
        let text = refused(&place, &["create", "db", "--no-project", "-p", "0:2", "-p", &request]);
        assert!(text.contains(&said), "{text}");
    }
    let text = refused(&place, &["create", "db", "--no-project", "-p", "9000:1", "-p", "9000:2"]);
    assert!(text.contains("both take port 9000"), "{text}");
    let state: Vec<_> =
        names(&place.path("state")).into_iter().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(state, ["web"]);
}

#[test]
fn copies_have_a_port_each() {
    let place = Place::new();
    let text = refused(&place, &["create", "ci", "--no-project", "--copies", "2", "-p", "8080:3000"]);
    assert!(text.contains("write 0:3000"), "{text}");
    let made = parsed(
        &place,
        &[
            "create",
            "ci",
            "--no-project",
            "--copies",
            "3",
            "-p",
            "0:3000",
            "--peer",
            "ci-1",
            "--peer",
            "ci-2",
            "--json",
        ],
    );
    let ports: HashSet<u64> =
        made.as_array().unwrap().iter().map(|vm| vm["forwards"][0]["host"].as_u64().unwrap()).collect();
    assert_eq!(ports.len(), 3);
    let peers: Vec<&Value> = made.as_array().unwrap().iter().map(|vm| &vm["network"]["peers"]).collect();
    assert_eq!(peers, [&json!(["ci-2"]), &json!(["ci-1"]), &json!(["ci-1", "ci-2"])]);
}

#[test]
fn peers_and_egress_are_kept() {
    let place = Place::new();
    let create =
        ["create", "app", "--no-project", "--peer", "db", "--allow", "Example.com", "--allow", "10.1.2.0/24"];
    let (_, said) = ok(&place, &create);
    assert!(said.contains("there is no VM `db` yet"), "{said}");
    let (status, _) = ok(&place, &["status", "app"]);
    assert!(status.contains("only example.com, 10.1.2.0/24") && status.contains("Peers"), "{status}");
    let (_, said) = ok(&place, &["create", "db", "--no-project", "--peer", "app", "--egress", "none"]);
    assert!(!said.contains("warning"), "{said}");
    assert_eq!(parsed(&place, &["list", "--json"])[1]["egress"], json!({"policy": "none"}));
    let text = refused(&place, &["create", "self", "--no-project", "--peer", "self"]);
    assert!(text.contains("is the VM itself"), "{text}");
}

#[test]
fn run_says_where_its_ports_are_before_the_command() {
    let place = Place::new();
    let _keeper = Keeper::start(&place);
    let (stdout, stderr) = ok(&place, &["run", "-p", "0:3000", "--", "echo", "up"]);
    assert_eq!(stdout, "up\n");
    assert!(stderr.contains("127.0.0.1:") && stderr.contains(":3000/tcp"), "{stderr}");
    assert!(place.store().names().unwrap().is_empty());
}

#[test]
fn a_hundred_commands_at_once_get_a_hundred_ports() {
    let place = Place::new();
    place.mvm(&["create", "vm", "--no-project", "--copies", "10"]).assert().success();
    let children: Vec<_> = (0..100)
        .map(|n| {
            let vm = format!("vm-{}", n % 10 + 1);
            let mut command = place.std_mvm(&["port", &vm, &format!("0:{}", 1000 + n), "--json"]);
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    let mut ports = HashSet::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let added: Value = serde_json::from_slice(&output.stdout).unwrap();
        ports.insert(added["added"][0]["host"].as_u64().unwrap());
    }
    assert_eq!(ports.len(), 100);
    let list = parsed(&place, &["list", "--json"]);
    let stored: usize =
        list.as_array().unwrap().iter().map(|vm| vm["forwards"].as_array().unwrap().len()).sum();
    assert_eq!(stored, 100);
}

#[test]
fn a_crash_while_vms_are_made_or_deleted_leaves_no_port_taken() {
    let place = Place::new();
    let port = with_ports(&place, "probe", &["0:3000"])[0];
    place.mvm(&["delete", "probe"]).assert().success();
    let request = format!("{port}:3000");
    let create = ["create", "web", "--no-project", "-p", &request];
    let crash = |point: &str, args: &[&str]| {
        let status =
            place.std_mvm(args).env("MVM_FAULT_POINT", point).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.signal(), Some(9), "{args:?} never came by `{point}`");
        ok(&place, &["list"]);
    };
    let there = || !place.store().names().unwrap().is_empty();
    crash("create-made", &create);
    assert!(!there());
    crash("create-first", &create);
    assert!(there());
    assert_eq!(parsed(&place, &["port", "web", "--json"])["forwards"][0]["host"], port);
    crash("delete-begin", &["delete", "web"]);
    assert!(there());
    crash("delete-renamed", &["delete", "web"]);
    assert!(!there());
    place.store().sweep().unwrap();
    ok(&place, &create);
    let state: Vec<_> =
        names(&place.path("state")).into_iter().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(state, ["web"]);
    assert!(place.store().unfinished().unwrap().is_empty());
}
