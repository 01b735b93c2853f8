//! The workload of a guest, with processes of this machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod common;

use common::Guest;
use mvm_spec::control::{LogHeader, StreamKind, ToGuest, ToHost};
use mvm_spec::workload::{ProcessPhase, ProcessStatus, Workload};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a script does that waits for its end. No child is left behind: unlike a guest's, this machine's init may take its time
/// to wait for orphans.
const IDLE: &str = "while :; do sleep 0.05; done";

/// Has the guest run `processes`, in its project's directory.
async fn run(guest: &mut Guest, processes: Value) {
    let json = json!({ "version": 1, "workingDirectory": guest.project(), "processes": processes });
    let workload = Workload::parse(&json.to_string()).unwrap();
    guest.tell(&ToGuest::Workload(Box::new(workload))).await;
}

/// The first report of which `holds`.
async fn report(
    guest: &mut Guest,
    what: &str,
    holds: impl Fn(&[ProcessStatus]) -> bool,
) -> Vec<ProcessStatus> {
    let mut last = Vec::new();
    let waiting = async {
        loop {
            match guest.hear().await.expect("the guest ended") {
                ToHost::Processes(statuses) if holds(&statuses) => return statuses,
                ToHost::Processes(statuses) => last = statuses,
                _ => {}
            }
        }
    };
    match tokio::time::timeout(DEADLINE, waiting).await {
        Ok(statuses) => statuses,
        Err(_) => panic!("waited for {what}; last: {last:?}"),
    }
}

fn all(phase: ProcessPhase) -> impl Fn(&[ProcessStatus]) -> bool {
    move |statuses| !statuses.is_empty() && statuses.iter().all(|status| status.phase == phase)
}

fn phase(statuses: &[ProcessStatus], name: &str) -> ProcessPhase {
    statuses.iter().find(|status| status.name == name).unwrap().phase
}

fn file(guest: &Guest, name: &str) -> String {
    std::fs::read_to_string(guest.project().join(name)).unwrap_or_default()
}

#[tokio::test]
async fn a_process_starts_when_those_before_it_are_ready_and_set_up() {
    let mut guest = Guest::start().await;
    let processes = json!([
        { "name": "web", "exec": "echo web >> order; exec sleep 1000", "after": ["db"] },
        {
            "name": "db",
            "prepare": "echo prepare >> order",
            "exec": "echo exec >> order; echo $STATE_DIRECTORY > state-of-db; sleep 0.3; touch up; exec sleep 1000",
            "ready": "echo try >> tries; test -e up",
            "setup": "echo setup >> order",
        },
    ]);
    run(&mut guest, processes).await;
    let statuses = report(&mut guest, "both to be ready", all(ProcessPhase::Ready)).await;
    assert_eq!(file(&guest, "order"), "prepare\nexec\nsetup\nweb\n");
    assert_eq!(statuses.iter().map(|status| status.name.as_str()).collect::<Vec<_>>(), ["web", "db"]);
    assert!(statuses.iter().all(|status| status.pid.is_some_and(|pid| pid > 1)), "{statuses:?}");
    assert!(file(&guest, "state-of-db").ends_with("state/db/state\n"));
    guest.tell(&ToGuest::PowerOff).await;
    guest.ended().await;
}

#[tokio::test]
async fn a_process_that_fails_is_started_again_and_its_setup_is_not_repeated() {
    let mut guest = Guest::start().await;
    let processes = json!([{
        "name": "flaky",
        "exec": "echo run >> runs; if [ $(wc -l < runs) -lt 4 ]; then sleep 0.1; exit 3; fi; exec sleep 1000",
        "setup": "echo setup >> setups",
    }]);
    run(&mut guest, processes).await;
    let statuses =
        report(&mut guest, "a pause", |statuses| phase(statuses, "flaky") == ProcessPhase::BackingOff).await;
    assert!(statuses[0].detail.contains("exit code 3; starts again"), "{statuses:?}");
    let up =
        |statuses: &[ProcessStatus]| statuses[0].restarts == 3 && statuses[0].phase == ProcessPhase::Ready;
    report(&mut guest, "the fourth run", up).await;
    assert_eq!(file(&guest, "setups"), "setup\n");
}

#[tokio::test]
async fn what_can_not_run_says_why_and_what_waits_for_it_says_so() {
    let mut guest = Guest::start().await;
    let processes = json!([
        { "name": "db", "exec": "x", "program": "no-such-server", "package": "server-package", "restart": "always" },
        { "name": "web", "exec": "x", "after": ["db"] },
        { "name": "once", "exec": "true", "restart": "no" },
        { "name": "broken", "exec": "true", "prepare": "false; true", "restart": "no" },
        { "name": "lost", "exec": "true", "cwd": "nowhere", "restart": "no" },
    ]);
    run(&mut guest, processes).await;
    let settled = |statuses: &[ProcessStatus]| {
        statuses.iter().all(|status| match status.name.as_str() {
            "once" => status.phase == ProcessPhase::Ended,
            "web" => status.detail.contains("db, which failed"),
            _ => status.phase == ProcessPhase::Failed,
        })
    };
    let statuses = report(&mut guest, "all to be settled", settled).await;
    let detail = |name: &str| &statuses.iter().find(|status| status.name == name).unwrap().detail;
    assert!(
        detail("db").contains("no-such-server") && detail("db").contains("server-package"),
        "{statuses:?}"
    );
    assert!(detail("broken").contains("preparation ended with exit code 1"), "{statuses:?}");
    assert!(detail("lost").contains("nowhere is not there"), "{statuses:?}");
}

#[tokio::test]
async fn a_live_change_touches_only_what_differs() {
    let mut guest = Guest::start().await;
    let sleeper = |name: &str, word: &str| {
        let exec = format!("trap 'echo ended >> {name}; exit' TERM; echo {word} >> {name}; {IDLE}");
        json!({ "name": name, "exec": exec, "ready": format!("grep -q {word} {name}") })
    };
    run(&mut guest, json!([sleeper("same", "a"), sleeper("changed", "a"), sleeper("gone", "a")])).await;
    let before = report(&mut guest, "three to run", all(ProcessPhase::Ready)).await;
    run(&mut guest, json!([sleeper("new", "a"), sleeper("changed", "b"), sleeper("same", "a")])).await;
    let after = report(&mut guest, "the change", |statuses| {
        statuses.iter().any(|status| status.name == "new") && all(ProcessPhase::Ready)(statuses)
    })
    .await;
    let pid = |statuses: &[ProcessStatus], name: &str| {
        statuses.iter().find(|status| status.name == name).unwrap().pid
    };
    assert_eq!(pid(&before, "same"), pid(&after, "same"));
    assert_ne!(pid(&before, "changed"), pid(&after, "changed"));
    assert_eq!(after.len(), 3);
    let seen = ["same", "changed", "gone", "new"].map(|name| file(&guest, name));
    assert_eq!(seen, ["a\n", "a\nended\nb\n", "a\nended\n", "a\n"]);
    // Nothing at all is a workload, too.
    run(&mut guest, json!([])).await;
    report(&mut guest, "an empty board", |statuses| statuses.is_empty()).await;
    assert_eq!(file(&guest, "same"), "a\nended\n");
}

#[tokio::test]
async fn power_off_ends_processes_in_reverse_order_and_their_last_words_arrive() {
    let mut guest = Guest::start().await;
    let process = |name: &str, after: &[&str]| {
        let exec = format!(
            "trap 'echo {name} >> ends; echo goodbye; exit' TERM; echo hello; touch up-{name}; {IDLE}"
        );
        json!({ "name": name, "exec": exec, "after": after, "ready": format!("test -e up-{name}") })
    };
    let mut logs = guest.open().await;
    logs.write_all(&[StreamKind::Logs as u8]).await.unwrap();
    logs.flush().await.unwrap();
    run(&mut guest, json!([process("db", &[]), process("api", &["db"]), process("web", &["api"])])).await;
    report(&mut guest, "three to run", all(ProcessPhase::Ready)).await;
    let reading = tokio::spawn(async move {
        let mut printed = std::collections::BTreeMap::<String, String>::new();
        loop {
            let mut fixed = [0; LogHeader::FIXED];
            if logs.read_exact(&mut fixed).await.is_err() {
                return printed;
            }
            let (name, length) = LogHeader::lengths(fixed);
            let mut bytes = vec![0; name + length];
            logs.read_exact(&mut bytes).await.unwrap();
            let (name, output) = bytes.split_at(name);
            let name = String::from_utf8(name.to_vec()).unwrap();
            printed.entry(name).or_default().push_str(std::str::from_utf8(output).unwrap());
        }
    });
    guest.tell(&ToGuest::PowerOff).await;
    while let Some(message) = guest.hear().await {
        if message == ToHost::PoweringOff {
            break;
        }
    }
    assert_eq!(file(&guest, "ends"), "web\napi\ndb\n");
    guest.ended().await;
    let printed = tokio::time::timeout(DEADLINE, reading).await.unwrap().unwrap();
    for name in ["db", "api", "web"] {
        assert_eq!(printed[name], "hello\ngoodbye\n");
    }
}

#[tokio::test]
async fn new_sessions_find_the_variables_of_a_new_workload() {
    let mut guest = Guest::start().await;
    let json = json!({ "version": 1, "environment": { "FROM_WORKLOAD": "yes" } });
    let workload = Workload::parse(&json.to_string()).unwrap();
    guest.tell(&ToGuest::Workload(Box::new(workload))).await;
    let ssh = guest.ssh().await;
    let seen = async {
        loop {
            let outcome = ssh.exec("echo $FROM_WORKLOAD", b"").await;
            if outcome.stdout == b"yes\n" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, seen).await.expect("no session found the variable");
}
