//! The command line, and verbs that need no running VM.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod support;

use mvm_host::store::VmState;
use mvm_spec::latest::{Guest, Network, Persistence, Project, Resources, User};
use mvm_spec::net::Cidr;
use mvm_spec::{VmName, VmSpec};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use support::{Place, names};

fn json(place: &Place, args: &[&str]) -> Value {
    let output = place.mvm(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(place: &Place, args: &[&str], code: i32) -> String {
    let output = place.mvm(args).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

/// A VM as `Store::create` leaves it, without keys and without syncing: a thousand of them are made in a moment.
fn put(place: &Place, name: &str, number: u32) {
    let name = VmName::new(name).unwrap();
    let address = std::net::Ipv4Addr::from_bits(0x0a00_0002 + number);
    let spec = VmSpec {
        version: 1,
        resources: Resources { vcpu: 2, mem_mib: 512 },
        guest: Guest::Embedded { kernel: None },
        project: Some(Project { path: place.project() }),
        user: User { name: "dev".into(), uid: 1000, gid: 1000 },
        network: Some(Network {
            bridge: "br".into(),
            mac: name.mac(),
            address: Cidr { address, prefix: 8 },
            gateway: [10, 0, 0, 1].into(),
            egress: Default::default(),
            peers: Vec::new(),
        }),
        forwards: Vec::new(),
        persistence: Persistence { enable: false, home_mib: 4096 },
        environment: Default::default(),
        ephemeral: false,
        name: name.clone(),
    };
    let state = VmState { version: 1, created_at: 1, machine_id: "0".repeat(32), ..VmState::default() };
    let paths = place.store().paths(&name);
    std::fs::create_dir_all(&paths.dir).unwrap();
    std::fs::write(paths.spec(), serde_json::to_string(&spec).unwrap()).unwrap();
    std::fs::write(paths.state(), serde_json::to_string(&state).unwrap()).unwrap();
}

#[test]
fn help_of_every_verb() {
    let place = Place::new();
    let help = |args: &[&str]| {
        let output = place.mvm(args).env("COLUMNS", "100").output().unwrap();
        assert!(output.status.success(), "{args:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    };
    let verbs = [
        "create",
        "start",
        "stop",
        "restart",
        "shell",
        "exec",
        "run",
        "list",
        "status",
        "port",
        "logs",
        "workload",
        "cp",
        "delete",
        "ssh-config",
        "cache",
        "doctor",
        "completions",
        "ssh-proxy",
        "man",
    ];
    let mut text = format!("$ mvm --help\n{}\n", help(&["--help"]));
    for verb in verbs {
        text.push_str(&format!("\n$ mvm {verb} --help\n{}\n", help(&[verb, "--help"])));
    }
    insta::assert_snapshot!("help", text);
}

#[test]
fn wrong_usage_is_2() {
    let place = Place::new();
    for args in [
        &["nonsense"][..],
        &["create", "Not_A_Name"],
        &["create", "a", "--mem", "lots"],
        &["create", "a", "--home-size", "1G"],
        &["create", "a", "--project", ".", "--no-project"],
        &["create", "a", "--copies", "0"],
        &["create", "a", "--port", "8080:"],
        &["create", "a", "--port", "8080:80", "--no-network"],
        &["create", "a", "--allow", "*.example.com"],
        &["create", "a", "--allow", "example.com", "--egress", "none"],
        &["create", "a", "--peer", "Not_A_Name"],
        &["port"],
        &["port", "a", "8080:80", "--remove", "8080"],
        &["port", "a", "8080:80", "--list"],
        &["port", "a", "--remove", "0"],
        &["port", "a", "70000:1"],
        &["start"],
        &["start", "a", "--all"],
        &["exec", "a"],
        &["exec", "a", "true"],
        &["run"],
        &["cp", "a"],
        &["delete"],
        &["list", "--json", "-q"],
        &["-v", "-q", "list"],
        &["--realm", "other", "list"],
        &["completions", "nosh"],
    ] {
        stderr(&place, args, 2);
    }
    assert!(!place.path("state").exists(), "wrong usage wrote something");
}

#[test]
fn create_checks_everything_before_it_writes() {
    let place = Place::new();
    let file = place.path("file");
    std::fs::write(&file, "").unwrap();
    let (file, home) = (file.to_str().unwrap().to_owned(), place.path("home"));
    let home = home.to_str().unwrap().to_owned();
    let state = place.path("");
    for (args, says) in [
        (&["--project", "/nosuch"][..], "can't find the project /nosuch"),
        (&["--project", &file], "is not a directory"),
        (&["--project", "/"], "whole file system"),
        (&["--project", state.to_str().unwrap()], "contains the state directory"),
        (&["--mem", "100T"], "this host has"),
        (&["--vcpu", "0"], "resources.vcpu"),
        (&["--vcpu", "5000"], "virtual CPUs"),
        (&["--mem", "16"], "resources.memMib"),
        (&["--env", "NOT_SET_HERE"], "no such variable"),
        (&["--env", "1=x"], "no variable name"),
        (&["--kernel", "/nosuch"], "kernel image /nosuch"),
    ] {
        let text = stderr(&place, &[&["create", "web"], args].concat(), 1);
        assert!(text.contains(says), "{args:?}: {text}");
        assert!(text.starts_with("mvm: error: ") && !place.path("state").exists(), "{args:?}: {text}");
    }
    // The home: not by accident, but if somebody asks for it.
    let mut at_home = place.mvm(&["create", "web"]);
    let output = at_home.current_dir(&home).output().unwrap();
    assert!(!output.status.success() && !place.path("state").exists());
    let text = stderr(&place, &["create", "web", "--project", &home], 0);
    assert!(text.contains("warning") && text.contains("keys and passwords"), "{text}");
}

#[test]
fn create_writes_what_was_asked_for() {
    let place = Place::new();
    place
        .mvm(&[
            "create",
            "--vcpu",
            "1",
            "--mem",
            "1G",
            "--persist",
            "--home-size",
            "8G",
            "--env",
            "A=1",
            "--env",
            "HERE",
            "--no-network",
        ])
        .env("HERE", "there")
        .assert()
        .success();
    let status = json(&place, &["status", "project", "--json"]);
    assert_eq!(status["status"], "stopped");
    let spec = &status["spec"];
    assert_eq!(spec["resources"], serde_json::json!({"vcpu": 1, "memMib": 1024}));
    assert_eq!(spec["persistence"], serde_json::json!({"enable": true, "homeMib": 8192}));
    assert_eq!(spec["environment"], serde_json::json!({"A": "1", "HERE": "there"}));
    assert_eq!(spec["project"]["path"], place.project().to_str().unwrap());
    assert_eq!(spec["network"], Value::Null);
    let text = stderr(&place, &["create"], 1);
    assert!(text.contains("there is a VM `project` already"), "{text}");
}

#[test]
fn copies_are_made_all_or_none() {
    let place = Place::new();
    place.mvm(&["create", "ci", "--copies", "3"]).assert().success();
    let list = json(&place, &["list", "--json"]);
    let found: Vec<_> = list.as_array().unwrap().iter().map(|vm| vm["name"].as_str().unwrap()).collect();
    assert_eq!(found, ["ci-1", "ci-2", "ci-3"]);
    place.mvm(&["delete", "ci-1", "ci-2"]).assert().success();
    stderr(&place, &["create", "ci", "--copies", "3"], 1);
    assert_eq!(json(&place, &["list", "--json"]).as_array().unwrap().len(), 1);
    // The default subnet has 245 addresses for VMs.
    let text = stderr(&place, &["create", "many", "--copies", "300"], 1);
    assert!(text.contains("no address is free"), "{text}");
    let left: Vec<_> =
        names(&place.path("state")).into_iter().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(left, ["ci-3"]);
}

#[test]
fn many_creates_at_once_lose_nothing() {
    let place = Place::new();
    let children: Vec<_> =
        (0..20).map(|n| place.std_mvm(&["create", &format!("vm-{n}"), "-q"]).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let list = json(&place, &["list", "--json"]);
    let list = list.as_array().unwrap();
    let addresses: HashSet<_> = list.iter().map(|vm| vm["address"].as_str().unwrap()).collect();
    assert_eq!((list.len(), addresses.len()), (20, 20));
}

#[test]
fn one_name_is_made_once() {
    let place = Place::new();
    let children: Vec<_> = (0..8)
        .map(|_| place.std_mvm(&["create", "one"]).stderr(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    let made = children.into_iter().map(|mut child| child.wait().unwrap()).filter(|status| status.success());
    assert_eq!(made.count(), 1);
    assert_eq!(place.store().names().unwrap().len(), 1);
}

#[test]
fn a_thousand_vms_are_listed() {
    let place = Place::new();
    for number in 0..1000 {
        put(&place, &format!("vm-{number:04}"), number);
    }
    let list = json(&place, &["list", "--json"]);
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 1000);
    for (number, vm) in list.iter().enumerate() {
        assert_eq!(vm["name"], format!("vm-{number:04}"));
        assert_eq!(vm["status"], "stopped");
        assert_eq!(vm["memMib"], 512);
    }
    assert_eq!(list[999]["address"], "10.0.3.233");
    let text = String::from_utf8(place.mvm(&["list"]).output().unwrap().stdout).unwrap();
    assert_eq!(text.lines().count(), 1001);
    assert!(text.starts_with("NAME     STATUS   PROJECT"), "{text:.100}");
    let quiet = String::from_utf8(place.mvm(&["list", "-q"]).output().unwrap().stdout).unwrap();
    assert_eq!(quiet.lines().nth(41), Some("vm-0041"));
}

#[test]
fn an_empty_realm_has_an_empty_list() {
    let place = Place::new();
    assert_eq!(json(&place, &["list", "--json"]), serde_json::json!([]));
    place.mvm(&["list"]).assert().success().stdout("");
    assert!(!place.path("state").exists());
}

#[test]
fn a_damaged_vm_is_shown_hides_no_other_and_can_be_deleted() {
    let place = Place::new();
    put(&place, "good", 0);
    put(&place, "bad", 1);
    std::fs::write(place.path("state/bad/spec.json"), "{ \"version\": 99 }").unwrap();
    let list = json(&place, &["list", "--json"]);
    assert_eq!((&list[0]["status"], &list[1]["status"]), (&"damaged".into(), &"stopped".into()));
    assert!(list[0]["problem"].as_str().unwrap().contains("version 99"));
    assert!(stderr(&place, &["list"], 0).contains("mvm delete --force bad"));
    assert_eq!(json(&place, &["status", "bad", "--json"])["status"], "damaged");
    place.mvm(&["ssh-config"]).assert().success();
    assert!(stderr(&place, &["delete", "bad"], 1).contains("--force"));
    assert!(place.path("state/bad").exists());
    place.mvm(&["delete", "bad", "--force"]).assert().success();
    assert_eq!(json(&place, &["list", "--json"]).as_array().unwrap().len(), 1);
    place.mvm(&["delete", "good"]).assert().success();
    stderr(&place, &["delete", "good"], 1);
}

#[test]
fn nothing_is_deleted_if_one_name_is_wrong() {
    let place = Place::new();
    put(&place, "a", 0);
    assert!(stderr(&place, &["delete", "a", "nosuch"], 1).contains("`nosuch`"));
    assert!(place.path("state/a").exists());
}

#[test]
fn logs_show_the_console() {
    let place = Place::new();
    put(&place, "web", 0);
    place.mvm(&["logs", "web"]).assert().success().stdout("");
    std::fs::write(place.path("state/web/console.log"), "one\ntwo\nthree\n").unwrap();
    place.mvm(&["logs", "web"]).assert().success().stdout("one\ntwo\nthree\n");
    place.mvm(&["logs", "web", "-n", "1"]).assert().success().stdout("three\n");
}

#[test]
fn logs_follow_until_the_vm_is_deleted() {
    use std::io::{BufRead, BufReader, Write};
    let place = Place::new();
    put(&place, "web", 0);
    let console = place.path("state/web/console.log");
    std::fs::write(&console, "one\n").unwrap();
    let mut child =
        place.std_mvm(&["logs", "web", "-f"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "one");
    std::fs::OpenOptions::new().append(true).open(&console).unwrap().write_all(b"two\n").unwrap();
    assert_eq!(lines.next().unwrap(), "two");
    std::fs::rename(&console, place.path("state/web/console.log.1")).unwrap();
    std::fs::write(&console, "three\n").unwrap();
    assert_eq!(lines.next().unwrap(), "three");
    place.mvm(&["delete", "web"]).assert().success();
    assert_eq!(lines.next(), None);
    assert!(child.wait().unwrap().success());
}

#[test]
fn shells_complete_verbs_and_the_names_of_vms() {
    let place = Place::new();
    put(&place, "web", 0);
    put(&place, "worker", 1);
    let complete = |words: &[&str]| {
        let mut command = place.mvm(&[&["--", "mvm"], words].concat());
        command.env("COMPLETE", "fish");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let first = |text: String| -> Vec<String> {
        text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    assert_eq!(first(complete(&["stop", "w"])), ["web", "worker"]);
    assert_eq!(first(complete(&["exec", "wo"])), ["worker"]);
    assert!(first(complete(&["cp", "w"])).contains(&"web:".to_owned()));
    assert!(first(complete(&["ssh"])).contains(&"ssh-config".to_owned()));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = place.mvm(&["completions", shell]).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("COMPLETE"), "{shell}");
    }
}

#[test]
fn man_pages_are_written_for_every_verb() {
    let place = Place::new();
    let dir = place.path("man");
    place.mvm(&["man", dir.to_str().unwrap()]).assert().success();
    let pages = names(&dir);
    for page in ["mvm.1", "mvm-run.1", "mvm-ssh-config.1"] {
        assert!(pages.contains(&page.to_owned()), "{pages:?}");
    }
}

#[test]
fn doctor_reports_every_check_and_sweeps_on_request() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("state/.new-dead")).unwrap();
    let check = |args: &[&str], name: &str| -> Value {
        let output = place.mvm(args).output().unwrap();
        let checks: Value = serde_json::from_slice(&output.stdout).unwrap();
        checks.as_array().unwrap().iter().find(|check| check["name"] == name).unwrap().clone()
    };
    assert_eq!(check(&["doctor", "--json"], "leftovers")["verdict"], "warn");
    assert_eq!(check(&["doctor", "--json", "--fix"], "leftovers")["verdict"], "ok");
    assert!(!place.path("state/.new-dead").exists());
    assert_eq!(check(&["doctor", "--json"], "state directory")["verdict"], "ok");
    assert_eq!(names(&place.path("state")), [".lock"]);
}

#[test]
fn ssh_is_told_where_everything_is() {
    let place = Place::new();
    put(&place, "web", 0);
    let text = String::from_utf8(place.mvm(&["ssh-config", "web"]).output().unwrap().stdout).unwrap();
    let key = place.path("state/web/ssh/user_key");
    for line in [
        "Host web.mvm web".to_owned(),
        "User dev".to_owned(),
        format!("IdentityFile \"{}\"", key.display()),
        "HostKeyAlias web.mvm".to_owned(),
        "StrictHostKeyChecking yes".to_owned(),
    ] {
        assert!(text.lines().any(|found| found.trim() == line), "{line} is not in\n{text}");
    }
    assert!(text.contains(&format!("MVM_STATE_DIR={}", place.path("state").display())), "{text}");
    assert!(text.contains(&format!("{} --realm user ssh-proxy web", env!("CARGO_BIN_EXE_mvm"))), "{text}");
    assert!(Path::new(env!("CARGO_BIN_EXE_mvm")).is_absolute());
}

#[test]
fn a_workload_is_checked_before_a_vm_is_made_with_it() {
    let place = Place::new();
    let bad = place.project().join("bad.json");
    std::fs::write(&bad, r#"{ "version": 1, "processes": [{ "name": "a b", "exec": "x" }] }"#).unwrap();
    let said = stderr(&place, &["create", "web", "--workload", bad.to_str().unwrap()], 1);
    assert!(said.contains("bad.json") && said.contains("processes[0].name"), "{said}");
    stderr(&place, &["create", "web", "--workload", "none.json"], 1);
    assert!(!place.path("state/web").exists());
}

#[test]
fn a_workload_is_shown_compared_and_replaced() {
    let place = Place::new();
    let workload = |exec: &str| {
        serde_json::json!({
            "version": 1,
            "workingDirectory": "/project",
            "processes": [{ "name": "web", "exec": exec, "restart": "on-failure" }],
        })
    };
    let first = workload("first");
    place
        .mvm(&["create", "vm", "--no-project", "--copies", "2", "--workload", "-"])
        .write_stdin(first.to_string())
        .assert()
        .success();
    for copy in ["vm-1", "vm-2"] {
        assert_eq!(json(&place, &["workload", copy]), first);
    }
    let new = place.project().join("new.json");
    std::fs::write(&new, workload("second").to_string()).unwrap();
    let new = new.to_str().unwrap();

    let compared = json(&place, &["workload", "vm-1", "--compare", new, "--json"]);
    assert_eq!(compared["differences"], serde_json::json!(["process web changed"]));
    assert_eq!(json(&place, &["workload", "vm-1"]), first, "a comparison changes nothing");
    let list = json(&place, &["list", "--json"]);
    assert_eq!(list[0]["outdated"]["what"], serde_json::json!(["process web changed"]));
    assert!(list[1].get("outdated").is_none());
    let text = String::from_utf8(place.mvm(&["list"]).output().unwrap().stdout).unwrap();
    assert!(text.contains("stopped, outdated"), "{text}");
    let status = String::from_utf8(place.mvm(&["status", "vm-1"]).output().unwrap().stdout).unwrap();
    assert!(status.contains("process web changed") && status.contains("mvm workload"), "{status}");
    assert!(status.contains("web, when it runs"), "{status}");

    place.mvm(&["workload", "vm-1", new]).assert().success().stdout("process web changed\n");
    assert_eq!(json(&place, &["workload", "vm-1"]), workload("second"));
    let status = json(&place, &["status", "vm-1", "--json"]);
    assert!(status.get("outdated").is_none());
    assert_eq!(status["processes"], serde_json::json!([]));
    // Again is no mistake.
    place.mvm(&["workload", "vm-1", new]).assert().success().stdout("");
    place.mvm(&["workload", "vm-1", "--compare", new]).assert().success().stdout("");
    assert!(stderr(&place, &["workload", "nobody", new], 1).contains("mvm list"));
}

#[test]
fn a_mark_goes_when_nothing_differs_any_more() {
    let place = Place::new();
    place.mvm(&["create", "vm", "--no-project"]).assert().success();
    let empty = json(&place, &["workload", "vm"]);
    assert_eq!(empty["version"], 1, "a VM without a workload has an empty one");
    let variables = r#"{ "version": 1, "environment": { "A": "1" } }"#;
    let compare = |text: &str| {
        place.mvm(&["workload", "vm", "--compare", "-"]).write_stdin(text.to_owned()).assert().success()
    };
    compare(variables).stdout("variable A added\n");
    assert!(json(&place, &["list", "--json"])[0].get("outdated").is_some());
    compare(&empty.to_string()).stdout("");
    assert!(json(&place, &["list", "--json"])[0].get("outdated").is_none());
}

#[test]
fn logs_of_a_process_that_is_not_there_name_those_that_are() {
    let place = Place::new();
    let workload =
        r#"{ "version": 1, "processes": [{ "name": "web", "exec": "x" }, { "name": "db", "exec": "x" }] }"#;
    place.mvm(&["create", "vm", "--no-project", "--workload", "-"]).write_stdin(workload).assert().success();
    let said = stderr(&place, &["logs", "vm", "--process", "wbe"], 1);
    assert!(said.contains("web, db"), "{said}");
    stderr(&place, &["logs", "vm", "--process", "../console"], 1);
    std::fs::write(place.path("state/vm/processes/web.log"), "one\ntwo\n").unwrap();
    place.mvm(&["logs", "vm", "--process", "web", "-n", "1"]).assert().success().stdout("two\n");
    assert!(stderr(&place, &["logs", "vm", "--process", "db"], 0).contains("db printed nothing yet"));
}
