//! `exec`, `run`, `shell`, `cp` and `ssh-proxy` against a keeper without VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::sync::atomic::Ordering;
use support::keeper::Keeper;
use support::{Place, names, wait_for};

/// A realm with one running VM, `web`.
fn running() -> (Place, Keeper) {
    let place = Place::new();
    place.mvm(&["create", "web"]).assert().success();
    let keeper = Keeper::start(&place);
    place.mvm(&["start", "web"]).assert().success();
    (place, keeper)
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

#[test]
fn exec_passes_the_exit_code_on() {
    let (place, keeper) = running();
    for code in [0, 1, 2, 42, 255] {
        place.mvm(&["exec", "web", "--", "sh", "-c", &format!("exit {code}")]).assert().code(code);
    }
    let user = if nix::unistd::geteuid().is_root() { "root" } else { "dev" };
    assert!(keeper.guest.saw(&format!("login {user}")));
}

#[test]
fn exec_turns_a_signal_into_128_and_its_number() {
    let (place, _keeper) = running();
    place.mvm(&["exec", "web", "--", "sh", "-c", "kill -TERM $$"]).assert().code(143);
    place.mvm(&["exec", "web", "--", "sh", "-c", "kill -SEGV $$"]).assert().code(139);
}

#[test]
fn exec_keeps_stdout_and_stderr_apart() {
    let (place, _keeper) = running();
    let mut command = place.mvm(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2"]);
    command.assert().success().stdout("out\n").stderr("err\n");
}

#[test]
fn exec_passes_stdin_and_its_end_on() {
    let (place, _keeper) = running();
    place.mvm(&["exec", "web", "--", "cat"]).write_stdin("one\ntwo").assert().success().stdout("one\ntwo");
    place.mvm(&["exec", "web", "-n", "--", "cat"]).write_stdin("unread").assert().success().stdout("");
}

#[test]
fn exec_passes_arguments_variables_and_directory_exactly() {
    let (place, _keeper) = running();
    let script = "printf '%s|' \"$@\" \"$A\" \"$HERE\"; pwd";
    let mut command = place.mvm(&[
        "exec",
        "web",
        "--env",
        "A=a b",
        "--env",
        "HERE",
        "--workdir",
        "/tmp",
        "--",
        "sh",
        "-c",
        script,
        "sh",
        "x y",
        "",
        "$HOME",
        "'",
    ]);
    command.env("HERE", "there").assert().success().stdout("x y||$HOME|'|a b|there|/tmp\n");
}

#[test]
fn exec_streams_more_than_fits_in_memory_buffers() {
    let (place, _keeper) = running();
    let bytes: Vec<u8> = (0..64 * 1024 * 1024u32).map(|n| (n ^ (n >> 11)) as u8).collect();
    let output = place.mvm(&["exec", "web", "--", "cat"]).write_stdin(bytes.clone()).output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
}

#[test]
fn exec_holds_back_a_command_whose_output_nobody_reads() {
    let (place, keeper) = running();
    let mut child = place
        .std_mvm(&["exec", "web", "--", "sh", "-c", "yes & echo $!; wait"])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    // The memory of mvm stops growing although the command never stops writing.
    let resident = |pid: u32| -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let mut last = 0;
    let mut steady = 0;
    wait_for("steady memory", || {
        let now = resident(child.id());
        steady = if now == last { steady + 1 } else { 0 };
        last = now;
        steady > 50
    });
    assert!(last < 64 << 20, "{last} bytes");
    // A reader that goes away ends it, quietly.
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
    wait_for("the command's end", || keeper.guest.saw("hung up"));
}

#[test]
fn exec_passes_signals_on() {
    let (place, keeper) = running();
    for (sent, code, ended) in [
        (Signal::SIGINT, 130, "ended by INT"),
        (Signal::SIGTERM, 143, "ended by TERM"),
        (Signal::SIGHUP, 129, "ended by HUP"),
    ] {
        let mut child = place
            .std_mvm(&["exec", "web", "--", "sh", "-c", "echo ready; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        signal(&child, sent);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(keeper.guest.saw(ended), "{ended}");
    }
}

#[test]
fn a_second_interrupt_ends_mvm_itself() {
    let (place, keeper) = running();
    let mut child = place
        .std_mvm(&[
            "exec",
            "web",
            "--",
            "sh",
            "-c",
            "trap '' INT; echo ready; while :; do read x <&3; done 3</dev/zero",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    signal(&child, Signal::SIGINT);
    wait_for("the first interrupt", || keeper.guest.saw("signal INT"));
    assert_eq!(child.try_wait().unwrap(), None);
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn another_host_key_is_refused() {
    let (place, keeper) = running();
    keeper.guest.impostor.store(true, Ordering::SeqCst);
    let output = place.mvm(&["exec", "web", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("another host key"), "{stderr}");
    assert!(!keeper.guest.seen.lock().unwrap().iter().any(|line| line.starts_with("login")));
}

#[test]
fn mvms_own_failures_are_255() {
    let (place, _keeper) = running();
    place.mvm(&["exec", "nosuch", "--", "true"]).assert().code(255);
    place.mvm(&["stop", "web"]).assert().success();
    place.mvm(&["exec", "web", "--", "true"]).assert().code(255);
    place.mvm(&["run", "--project", "/nosuch", "--", "true"]).assert().code(255);
}

#[test]
fn run_passes_the_exit_code_on_and_leaves_nothing() {
    let place = Place::new();
    let _keeper = Keeper::start(&place);
    place.mvm(&["run", "--", "sh", "-c", "echo out; exit 7"]).assert().code(7).stdout("out\n").stderr("");
    assert!(place.store().names().unwrap().is_empty());
}

#[test]
fn run_says_what_was_lost() {
    let place = Place::new();
    let _keeper = Keeper::start(&place);
    // Written where the overlay of a real VM would put it.
    let script = format!("cd {}/*/overlay/upper && touch new", place.path("state").display());
    let output = place.mvm(&["run", "--", "sh", "-c", &script]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("1 file of it: 1 added"), "{stderr}");
}

#[test]
fn an_interrupted_run_leaves_nothing() {
    for (sent, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let place = Place::new();
        let keeper = Keeper::start(&place);
        let mut child = place
            .std_mvm(&["run", "--", "sh", "-c", "echo ready; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        signal(&child, sent);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(place.store().names().unwrap().is_empty());
        assert!(keeper.running.lock().unwrap().is_empty());
    }
}

#[test]
fn a_run_interrupted_while_it_boots_leaves_nothing() {
    let place = Place::new();
    let keeper = Keeper::start(&place);
    keeper.guest.stuck.store(true, Ordering::SeqCst);
    let mut child = place.std_mvm(&["run", "--", "true"]).spawn().unwrap();
    wait_for("the boot", || !keeper.running.lock().unwrap().is_empty());
    signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_for("the VM's end", || place.store().names().unwrap().is_empty());
}

#[test]
fn run_keep_leaves_the_vm() {
    let place = Place::new();
    let _keeper = Keeper::start(&place);
    place.mvm(&["run", "--keep", "--", "true"]).assert().success();
    let names = place.store().names().unwrap();
    assert_eq!(names.len(), 1);
    assert!(names[0].as_str().starts_with("project-"));
    place.mvm(&["exec", names[0].as_str(), "--", "true"]).assert().success();
}

#[test]
fn shell_without_a_name_finds_or_makes_the_vm_of_the_directory() {
    let place = Place::new();
    let _keeper = Keeper::start(&place);
    place.mvm(&["shell", "--", "true"]).assert().success();
    assert_eq!(place.store().names().unwrap()[0].as_str(), "project");
    std::fs::create_dir(place.project().join("sub")).unwrap();
    let mut below = place.mvm(&["shell"]);
    below.current_dir(place.project().join("sub")).write_stdin("exit 5").assert().code(5);
    assert_eq!(place.store().names().unwrap().len(), 1);
    place.mvm(&["create", "other"]).assert().success();
    let output = place.mvm(&["shell", "--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(255));
    assert!(String::from_utf8(output.stderr).unwrap().contains("other, project"));
}

#[test]
fn shell_on_a_terminal_is_raw_resizes_and_restores() {
    let (place, keeper) = running();
    let size = nix::pty::Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(Some(&size), None).unwrap();
    let slave = || Stdio::from(pty.slave.try_clone().unwrap());
    let raw = || {
        !rustix::termios::tcgetattr(&pty.slave)
            .unwrap()
            .local_modes
            .contains(rustix::termios::LocalModes::ICANON)
    };
    for sent in [None, Some(Signal::SIGTERM)] {
        let mut child = place
            .std_mvm(&["shell", "web", "--", "cat"])
            .env("TERM", "vt220")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()
            .unwrap();
        wait_for("the terminal's request", || keeper.guest.saw("pty vt220 101x33"));
        wait_for("raw mode", raw);
        let mut size = rustix::termios::tcgetwinsize(&pty.slave).unwrap();
        size.ws_col = 77;
        rustix::termios::tcsetwinsize(&pty.slave, size).unwrap();
        // The terminal is not mvm's controlling one, so that the kernel does not tell it.
        wait_for("the new size", || {
            signal(&child, Signal::SIGWINCH);
            keeper.guest.saw("window 77x33")
        });
        match sent {
            Some(sent) => {
                signal(&child, sent);
                assert_eq!(child.wait().unwrap().code(), Some(143));
            }
            None => {
                // The lost connection of a killed keeper is an end like others.
                keeper.guest.seen.lock().unwrap().clear();
                signal(&child, Signal::SIGHUP);
                assert_eq!(child.wait().unwrap().code(), Some(129));
            }
        }
        assert!(!raw(), "the terminal stayed raw after {sent:?}");
        size.ws_col = 101;
        rustix::termios::tcsetwinsize(&pty.slave, size).unwrap();
    }
}

#[test]
fn stop_says_what_is_lost() {
    let (place, _keeper) = running();
    let upper = place.path("state/web/overlay/upper");
    std::fs::write(upper.join("new"), "x").unwrap();
    let output = place.mvm(&["stop", "web"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("web has 1 change to its copy of the project"), "{stderr}");
    assert!(names(&upper).is_empty());
    place.mvm(&["stop", "web"]).assert().success();
}

#[test]
fn delete_refuses_a_running_vm_unless_forced() {
    let (place, keeper) = running();
    place.mvm(&["delete", "web"]).assert().code(1);
    assert!(place.store().contains(&mvm_spec::VmName::new("web").unwrap()));
    place.mvm(&["delete", "web", "--force"]).assert().success();
    assert!(place.store().names().unwrap().is_empty());
    assert!(keeper.running.lock().unwrap().is_empty());
}

#[test]
fn ssh_proxy_passes_bytes() {
    let (place, _keeper) = running();
    let mut child =
        place.std_mvm(&["ssh-proxy", "web"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"SSH-2.0-test\r\n").unwrap();
    let mut banner = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"SSH-2.0-");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn plain_ssh_works_with_the_printed_configuration() {
    let (place, _keeper) = running();
    let config = place.path("ssh config");
    let text = place.mvm(&["ssh-config", "web"]).output().unwrap().stdout;
    std::fs::write(&config, text).unwrap();
    for host in ["web", "web.mvm"] {
        let output = std::process::Command::new("ssh")
            .args(["-o", "BatchMode=yes", "-F"])
            .arg(&config)
            .args([host, "echo", "over ssh; exit 3"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.stdout, b"over ssh\n", "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(3));
    }
}

/// What `mvm cp` calls in a guest, made of this host's tar.
fn guest_tool(place: &Place) -> String {
    let tool = place.path("mvm-guest");
    let script = r#"#!/bin/sh
case $1 in
tar-create) exec tar -c -C "$(dirname -- "$2")" -- "$(basename -- "$2")" ;;
tar-extract) exec tar -x -C "$2" ;;
esac
"#;
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    tool.to_str().unwrap().to_owned()
}

#[test]
fn cp_follows_the_rules_of_cp_in_both_directions() {
    let (place, keeper) = running();
    *keeper.guest.tool.lock().unwrap() = guest_tool(&place);
    let cp = |args: &[&str]| place.mvm(&[&["cp"], args].concat());
    let there = place.path("there");
    std::fs::create_dir(&there).unwrap();
    let remote = |sub: &str| format!("web:{}/{sub}", there.display());
    let here = place.project();
    std::fs::create_dir_all(here.join("tree/sub")).unwrap();
    std::fs::write(here.join("tree/sub/file"), "content").unwrap();
    std::os::unix::fs::symlink("sub/file", here.join("tree/link")).unwrap();
    std::fs::write(here.join("big"), vec![7; 5 << 20]).unwrap();
    // Into an existing directory; under a new name; several into a directory.
    cp(&["tree", &remote("")]).assert().success();
    assert_eq!(std::fs::read(there.join("tree/sub/file")).unwrap(), b"content");
    cp(&["tree", &remote("renamed")]).assert().success();
    assert_eq!(std::fs::read_link(there.join("renamed/link")).unwrap().to_str(), Some("sub/file"));
    cp(&["tree/sub/file", "big", &remote("")]).assert().success();
    assert_eq!(std::fs::metadata(there.join("big")).unwrap().len(), 5 << 20);
    // Not onto what does not exist, nor a directory onto a file.
    cp(&["tree", "big", &remote("nothing")]).assert().code(1);
    cp(&["tree", &remote("big")]).assert().code(1);
    cp(&["big", &remote("no/where")]).assert().code(1);
    cp(&["missing", &remote("")]).assert().code(1);
    // And back.
    cp(&[&remote("tree"), "back"]).assert().success();
    assert_eq!(std::fs::read(here.join("back/sub/file")).unwrap(), b"content");
    cp(&[&remote("tree"), "back"]).assert().success();
    assert_eq!(std::fs::read(here.join("back/tree/sub/file")).unwrap(), b"content");
    cp(&[&remote("big"), &remote("file"), "."]).assert().success();
    assert_eq!(std::fs::read(here.join("big")).unwrap(), vec![7; 5 << 20]);
    cp(&[&remote("missing"), "."]).assert().code(1);
    cp(&[&remote("tree"), "big"]).assert().code(1);
}
