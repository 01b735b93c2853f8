//! What runs in a VM by itself.

use crate::harness::{Realm, succeeded, wait_for};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

impl Realm {
    /// Runs `mvm` with `input`, and gives its standard output.
    #[track_caller]
    fn with_input(&self, args: &[&str], input: &Value) -> String {
        let mut command = self.mvm(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
        succeeded(args, child.wait_with_output().unwrap())
    }

    /// The processes of VM `box`, when `holds` of them.
    #[track_caller]
    fn workload_when(&self, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut last = Vec::new();
        wait_for(what, || {
            last = self.status("box")["processes"].as_array().unwrap().clone();
            holds(&last).then(|| last.clone())
        })
    }

    /// What process `name` of VM `box` printed, when it has `expected` in it.
    #[track_caller]
    fn log(&self, name: &str, expected: &str) -> String {
        wait_for(&format!("`{expected}` in the log of {name}"), || {
            let log = self.ok(["logs", "box", "--process", name]);
            log.contains(expected).then_some(log)
        })
    }
}

fn workload(processes: Value) -> Value {
    json!({ "version": 1, "environment": { "GREETING": "hello" }, "processes": processes })
}

fn named<'a>(processes: &'a [Value], name: &str) -> &'a Value {
    processes.iter().find(|process| process["name"] == name).unwrap_or(&Value::Null)
}

fn all(phase: &str) -> impl Fn(&[Value]) -> bool {
    move |processes| !processes.is_empty() && processes.iter().all(|process| process["phase"] == phase)
}

#[test]
fn processes_run_in_order_are_watched_changed_and_logged() {
    let realm = Realm::new();
    realm.write("index.html", "from the project\n");
    realm.write(".env", "FROM_FILE='a file'\n");
    let web = json!({
        "name": "web",
        "exec": "echo $GREETING from web, $FROM_FILE; exec python3 -m http.server 8000",
        "ports": [8000],
        "after": ["db"],
    });
    let db = json!({
        "name": "db",
        "prepare": "echo preparing",
        "exec": "echo ready > $RUNTIME_DIRECTORY/up; exec sleep infinity",
        "ready": "test -s $RUNTIME_DIRECTORY/up",
        "setup": "echo set up >> /project/setups",
    });
    let missing =
        json!({ "name": "cache", "exec": "x", "program": "no-such-server", "package": "a-package" });
    let mut first = workload(json!([web, db, missing]));
    first["environmentFiles"] = json!(["/project/.env"]);
    realm.with_input(&["create", "box", "--workload", "-", "--start"], &first);
    let up = |processes: &[Value]| {
        ["web", "db"].iter().all(|name| named(processes, name)["phase"] == "ready")
            && named(processes, "cache")["phase"] == "failed"
    };
    let processes = realm.workload_when("web and db to be ready", up);
    assert!(named(&processes, "cache")["detail"].as_str().unwrap().contains("a-package"), "{processes:?}");
    let page = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/').read().decode())";
    assert!(realm.ok(["exec", "box", "--", "python3", "-c", page]).contains("from the project"));
    assert_eq!(realm.sh("box", "echo $GREETING; cat setups"), "hello\nset up\n");
    realm.log("web", "hello from web, a file");
    realm.log("db", "preparing");
    let text = realm.ok(["status", "box"]);
    assert!(text.contains("web    ready: pid"), "{text}");

    // Killed, it comes back.
    let pid = named(&processes, "web")["pid"].clone();
    realm.sh("box", &format!("kill -9 {pid}"));
    let back = |processes: &[Value]| named(processes, "web")["restarts"] == 1 && up(processes);
    let processes = realm.workload_when("web to be started again", back);
    assert_ne!(named(&processes, "web")["pid"], pid);
    realm.log("web", "[mvm] was ended by SIGKILL; starts again after 0.1 s");

    // Another workload: what differs is said before it is applied, and what is the same runs on.
    let mut second = workload(json!([web, { "name": "tick", "exec": "echo tock; sleep infinity" }]));
    second["processes"][0]["after"] = json!([]);
    second["environment"]["GREETING"] = json!("hi");
    let compare = ["workload", "box", "--compare", "-"];
    let differences = realm.with_input(&compare, &second);
    let expected = "process tick added\nprocess web changed\nprocess cache removed\nprocess db removed\n\
                    variable GREETING changed\nfiles of variables changed\n";
    assert_eq!(differences, expected);
    assert!(realm.ok(["list"]).contains("running, outdated"));
    assert_eq!(realm.with_input(&["workload", "box", "-"], &second), expected);
    assert!(realm.ok(["list"]).contains("running  "));
    let changed = |processes: &[Value]| processes.len() == 2 && all("ready")(processes);
    realm.workload_when("the new workload", changed);
    realm.log("web", "hi from web");
    realm.log("tick", "tock");
    assert_eq!(realm.sh("box", "echo $GREETING; pgrep -c sleep"), "hi\n1\n");

    // Logs stay when it stops, and a booted VM does as one from a template.
    realm.ok(["stop", "box", "--yes"]);
    assert!(realm.ok(["logs", "box", "--process", "tick"]).contains("tock"));
    assert!(realm.ok(["status", "box"]).contains("web, tick, when it runs"));
    realm.ok(["start", "box", "--cold"]);
    realm.workload_when("the workload of a booted VM", all("ready"));
    realm.log("tick", "tock");
}

#[test]
fn state_of_processes_lasts_as_long_as_the_vms_and_setup_runs_once_in_it() {
    let realm = Realm::new();
    let process = json!({
        "name": "db",
        "exec": "trap 'echo ended >> $STATE_DIRECTORY/life; exit' TERM; echo run >> $STATE_DIRECTORY/life; \
                 while :; do sleep 0.1; done",
        "setup": "echo setup >> $STATE_DIRECTORY/life",
        "ready": "test -s $STATE_DIRECTORY/life",
        "refusesRoot": true,
    });
    let workload = workload(json!([process]));
    realm.with_input(&["create", "box", "--persist", "--workload", "-", "--start"], &workload);
    realm.workload_when("db to be ready", all("ready"));
    let life = "cat /home/.mvm/db/state/life";
    assert_eq!(realm.ok(["exec", "--root", "box", "--", "sh", "-c", life]), "run\nsetup\n");
    if Realm::root() {
        let owner = realm.ok(["exec", "--root", "box", "--", "stat", "-c", "%u", "/home/.mvm/db/state/life"]);
        assert_eq!(owner, "65534\n");
    }
    realm.ok(["stop", "box", "--yes"]);
    realm.ok(["start", "box"]);
    realm.workload_when("db to be ready again", all("ready"));
    // It was told of its end, and its setup was not repeated.
    let seen = realm.ok(["exec", "--root", "box", "--", "sh", "-c", life]);
    assert_eq!(seen, "run\nsetup\nended\nrun\n");
}

#[test]
fn twenty_processes_come_up_and_end_with_the_vm() {
    let realm = Realm::new();
    let process = |number: usize| {
        let after = (number > 0).then(|| format!("p{}", (number - 1) / 2));
        json!({
            "name": format!("p{number}"),
            "exec": format!("echo I am {number}; sleep infinity"),
            "after": after.into_iter().collect::<Vec<_>>(),
        })
    };
    let processes: Vec<Value> = (0..20).map(process).collect();
    realm.with_input(&["create", "box", "--workload", "-", "--start"], &workload(json!(processes)));
    let up = realm.workload_when("twenty to be ready", |all| {
        all.len() == 20 && all.iter().all(|process| process["phase"] == "ready")
    });
    assert_eq!(up[19]["name"], "p19");
    for number in [0, 7, 19] {
        realm.log(&format!("p{number}"), &format!("I am {number}\n"));
    }
    let stopped = realm.output(["stop", "box", "--yes"]);
    let said = String::from_utf8_lossy(&stopped.stderr).into_owned();
    assert!(stopped.status.success() && !said.contains("killed"), "{said}");
}
