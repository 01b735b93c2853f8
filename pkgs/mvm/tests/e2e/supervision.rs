//! Lives and deaths of VMs.

use crate::harness::{As, Realm, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn pid(value: &serde_json::Value, key: &str) -> Pid {
    let find = |value: &serde_json::Value| value.get(key).and_then(serde_json::Value::as_i64);
    let pid = find(value).or_else(|| value.as_object()?.values().find_map(find));
    Pid::from_raw(i32::try_from(pid.unwrap_or_else(|| panic!("{key} in {value}"))).unwrap())
}

fn state_of(realm: &Realm, name: &str) -> String {
    let vms = realm.list();
    let vm = vms.iter().find(|vm| vm["name"] == name).unwrap_or_else(|| panic!("{name} in {vms:?}"));
    vm["status"].as_str().unwrap_or_else(|| panic!("{vm}")).to_owned()
}

/// Process ids of the realm's keeper: the process and its init.
fn keepers(realm: &Realm) -> Vec<i32> {
    let is_keeper = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("\0keeper\0"))
    };
    realm.processes().into_iter().filter(is_keeper).collect()
}

#[test]
fn vms_outlive_the_process_that_started_them_and_end_in_order() {
    let realm = Realm::of(As::Ordinary);
    realm.ok(["create", "box"]);
    assert_eq!(state_of(&realm, "box"), "stopped");
    realm.ok(["start", "box"]);
    assert_eq!(state_of(&realm, "box"), "running");
    realm.ok(["start", "box"]);
    realm.ok(["stop", "box"]);
    assert_eq!(state_of(&realm, "box"), "stopped");
    realm.ok(["stop", "box"]);
    realm.wait_until_quiet();
    realm.ok(["delete", "box"]);
    assert!(realm.list().is_empty());
}

#[test]
fn after_a_kill_of_any_part_list_tells_the_truth_and_start_works_again() {
    let realm = Realm::of(As::Ordinary);
    realm.ok(["create", "box"]);
    for victim in ["vmmPid", "fsPid", "keeper", "init"] {
        realm.ok(["start", "box"]);
        let victim_pid = match victim {
            "keeper" | "init" => {
                let mut keepers = keepers(&realm);
                keepers.sort_unstable();
                assert_eq!(keepers.len(), 2, "keeper and its init");
                Pid::from_raw(keepers[usize::from(victim == "keeper")])
            }
            key => pid(&realm.status("box"), key),
        };
        kill(victim_pid, Signal::SIGKILL).unwrap();
        wait_for("the VM to be seen as stopped", || (state_of(&realm, "box") != "running").then_some(()));
        realm.wait_until_quiet();
        assert_ne!(state_of(&realm, "box"), "running", "{victim}");
    }
    realm.ok(["start", "box"]);
    assert_eq!(realm.sh("box", "echo alive"), "alive\n");
}

#[test]
fn a_guest_that_powers_off_is_stopped() {
    let realm = Realm::new();
    realm.ok(["create", "box", "--start"]);
    // Orphans are reaped by the guest's init.
    realm.sh(
        "box",
        "for n in 1 2 3 4 5; do (sh -c 'sleep 0.1 & exit' &); done; n=0; while ps -eo stat= | grep -q Z; do n=$((n + 1)); test $n -lt 300; sleep 0.1; done",
    );
    let _ = realm.output(["exec", "--root", "box", "--", "kill", "-9", "-1"]);
    realm.ok(["exec", "box", "--", "true"]);
    let _ = realm.output(["exec", "--root", "box", "--", "sh", "-c", "echo o > /proc/sysrq-trigger"]);
    wait_for("the VM to end", || (state_of(&realm, "box") == "stopped").then_some(()));
    realm.wait_until_quiet();
}

#[test]
fn starts_at_the_same_time_are_one_start() {
    let realm = Realm::of(As::Ordinary);
    realm.ok(["create", "box"]);
    let children: Vec<_> = (0..5).map(|_| realm.mvm(["start", "box"]).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(keepers(&realm).len(), 2);
    assert_eq!(realm.sh("box", "echo one"), "one\n");
}

#[test]
fn a_start_that_can_not_work_says_why() {
    let realm = Realm::new();
    realm.ok(["create", "box"]);
    let output = realm.mvm(["start", "box"]).env("MVM_KERNEL", "/etc/hostname").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/etc/hostname"), "{said}");
    realm.wait_until_quiet();
    let output = realm.mvm(["start", "box"]).env("MVM_QEMU", "/nonexistent/qemu").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/qemu"), "{output:?}");
    // The keeper has the variable, too.
    realm.wait_until_quiet();
    std::fs::remove_dir_all(realm.project()).unwrap();
    let output = realm.mvm(["start", "box"]).current_dir("/").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("project"), "{output:?}");
}

#[test]
fn a_guest_that_does_not_come_up_on_the_microvm_platform_is_tried_on_q35() {
    let realm = Realm::of(As::Ordinary);
    realm.ok(["create", "box"]);
    let qemu = realm.path("home/qemu");
    let script = "#!/bin/sh\ncase \"$*\" in *'-M microvm'*) echo 'no such board' >&2; exit 1;; esac\n\
                  exec /usr/bin/qemu-system-x86_64 \"$@\"\n";
    std::fs::write(&qemu, script).unwrap();
    std::fs::set_permissions(&qemu, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let output = realm.mvm(["start", "box"]).env("MVM_QEMU", &qemu).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("q35") && said.contains("no such board"), "{said}");
    assert_eq!(realm.sh("box", "echo up"), "up\n");
}
