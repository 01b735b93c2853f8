//! `mvm run`, and commands in running VMs.

use crate::harness::{As, Realm, succeeded, wait_for};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

#[test]
fn run_passes_on_output_and_exit_code_and_leaves_nothing() {
    for who in [As::Caller, As::Ordinary] {
        let realm = Realm::of(who);
        realm.write("input", "from the project\n");
        let output = realm.output(["run", "--", "sh", "-c", "cat input; echo oops >&2; exit 7"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "from the project\n", "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("oops"), "{output:?}");
        assert_eq!(output.status.code(), Some(7));
        assert!(realm.list().is_empty());
        realm.wait_until_quiet();
        let left: Vec<_> = std::fs::read_dir(realm.path("state"))
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert!(left.iter().all(|name| name == ".lock" || name == ".forwards.lock"), "{left:?}");
    }
}

#[test]
fn exec_keeps_streams_apart_and_gives_the_commands_own_end() {
    let realm = Realm::new();
    realm.ok(["create", "box", "--start"]);
    let output = realm.output(["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((&*output.stdout, &*output.stderr), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.status.code(), Some(3));
    let output = realm.output(["exec", "box", "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(output.status.code(), Some(128 + 15));
    let output = realm.output(["exec", "box", "--", "no-such-program"]);
    assert_eq!(output.status.code(), Some(127));
    // Arguments arrive as they are.
    let arguments = ["a b", "it's", "$HOME", "`x`", "*", "", "ä\n\"", "\\"];
    let printed = realm.ok(["exec", "box", "--", "printf", "[%s]"].into_iter().chain(arguments));
    assert_eq!(printed, arguments.map(|argument| format!("[{argument}]")).concat());
}

#[test]
fn standard_input_reaches_the_command_whole() {
    let realm = Realm::new();
    realm.ok(["create", "box", "--start"]);
    let mut child = realm
        .mvm(["exec", "box", "--", "sha256sum"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let data: Vec<u8> = (0..8_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    child.stdin.take().unwrap().write_all(&data).unwrap();
    let remote = succeeded(&["sha256sum"], child.wait_with_output().unwrap());
    let mut local =
        std::process::Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    local.stdin.take().unwrap().write_all(&data).unwrap();
    assert_eq!(remote.into_bytes(), local.wait_with_output().unwrap().stdout);
    // And back.
    let output = realm.output(["exec", "box", "--", "head", "-c", "20000000", "/dev/zero"]);
    assert_eq!(output.stdout.len(), 20_000_000);
}

#[test]
fn an_interrupted_run_ends_the_command_and_leaves_nothing() {
    for signal in [nix::sys::signal::SIGINT, nix::sys::signal::SIGTERM, nix::sys::signal::SIGKILL] {
        let realm = Realm::new();
        let child = realm
            .mvm(["run", "--", "sh", "-c", "echo up; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = child;
        let mut first = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut first).unwrap();
        // `unshare` has become `mvm` by exec: the child is `mvm` itself.
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        let status = wait_for("mvm run to end", || child.try_wait().unwrap());
        if signal == nix::sys::signal::SIGKILL {
            assert_eq!(status.signal(), Some(9));
        } else {
            assert_eq!(status.code(), Some(128 + signal as i32), "{signal}");
        }
        realm.wait_until_quiet();
        assert!(realm.list().is_empty(), "{signal}");
    }
}

#[test]
fn the_guest_is_the_projects_owner_and_root_on_request() {
    for who in [As::Caller, As::Ordinary] {
        let realm = Realm::of(who);
        realm.write("file", "");
        realm.ok(["create", "box", "--start"]);
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(realm.project()).unwrap());
        assert_eq!(realm.sh("box", "id -u").trim(), owner.to_string());
        assert_eq!(
            realm.sh("box", "stat -c %u file; touch new; stat -c %u new; pwd"),
            format!("{owner}\n{owner}\n/project\n")
        );
        assert_eq!(realm.ok(["exec", "--root", "box", "--", "id", "-u"]).trim(), "0");
        assert_eq!(realm.sh("box", "hostname; echo $HOME; test -w $HOME").lines().next(), Some("box"));
    }
}

#[test]
fn variables_reach_every_command() {
    let realm = Realm::new();
    realm.ok(["create", "box", "--env", "GREETING=hello world", "--start"]);
    assert_eq!(realm.sh("box", "echo \"$GREETING\""), "hello world\n");
    assert_eq!(realm.ok(["exec", "box", "--", "sh", "-lc", "echo \"$GREETING\""]), "hello world\n");
    assert_eq!(realm.ok(["exec", "box", "--env", "MORE=1", "--", "printenv", "MORE"]), "1\n");
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing_half_made() {
    if !Realm::root() {
        println!("not here: mounting a small disk is root's; run the tests as root, too");
        return;
    }
    let realm = Realm::new();
    let script = "mount -t tmpfs -o size=16k none \"$MVM_STATE_DIR\" && \"$0\" create box; echo $?; ls -A \"$MVM_STATE_DIR\"";
    let output = realm
        .program("unshare")
        .args(["--mount", "--", "sh", "-c", script, crate::harness::mvm()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.trim_end().ends_with("the disk is full; free some space and try again"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n.forwards.lock\n.lock\n");
}
