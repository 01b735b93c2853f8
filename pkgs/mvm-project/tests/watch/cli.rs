//! `mvm-devenv watch`, with a stand-in for `mvm`.

use crate::world::{Vm, World, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader};
use std::process::{ChildStderr, Stdio};

/// The next line of a watcher that has this in it.
#[track_caller]
fn line(lines: &mut std::io::Lines<BufReader<ChildStderr>>, part: &str) -> String {
    lines
        .map(Result::unwrap)
        .find(|line| line.contains(part))
        .unwrap_or_else(|| panic!("no line with {part}"))
}

#[test]
fn a_change_marks_the_vm_as_outdated_and_signals_end_it_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let world = World::new(Vm::Running);
        let mut watcher = world
            .command("mvm-devenv", &["watch", ".", "shop", "--foreground"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(watcher.stderr.take().unwrap()).lines();
        line(&mut lines, "mvm-devenv: watching");
        line(&mut lines, "VM shop is as its project says");
        std::fs::write(world.project().join("devenv.nix"), "{ services.nats.enable = true; }").unwrap();
        let said = line(&mut lines, "outdated");
        assert!(said.contains("process web changed"), "{said}");
        let twice = world.run("mvm-devenv", &["watch", ".", "shop", "--foreground"]);
        assert!(String::from_utf8_lossy(&twice.stderr).contains("being watched already"), "{twice:?}");
        kill(Pid::from_raw(watcher.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(watcher.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn with_apply_a_change_reaches_the_running_vm() {
    let world = World::new(Vm::Running);
    let mut watcher = world
        .command("mvm-devenv", &["watch", ".", "shop", "--foreground", "--apply"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watcher.stderr.take().unwrap()).lines();
    line(&mut lines, "mvm-devenv: watching");
    std::fs::write(world.project().join("devenv.nix"), "{ services.nats.enable = true; }").unwrap();
    line(&mut lines, "applied to VM shop");
    let calls = world.calls();
    assert!(calls.contains("port shop --remove 16379:6379"), "{calls}");
    assert!(calls.contains("workload shop -\n"), "{calls}");
    // Deleted: the next change shows it.
    std::fs::remove_file(world.vm("made")).unwrap();
    std::fs::write(world.project().join("devenv.nix"), "{ services.vault.enable = true; }").unwrap();
    line(&mut lines, "VM shop is gone");
    assert!(watcher.wait().unwrap().success());
}

#[test]
fn in_the_background_it_is_named_with_its_log() {
    let world = World::new(Vm::Running);
    let output = world.run("mvm-devenv", &["watch", ".", "shop"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let pid = said.split("process ").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
    let log = said.trim().rsplit("log is ").next().unwrap().to_owned();
    std::fs::write(world.project().join("devenv.nix"), "{ services.nats.enable = true; }").unwrap();
    wait_for("the log to say that the VM is outdated", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("outdated"))
    });
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_for("the watcher to end", || kill(Pid::from_raw(pid), None).is_err());
}
