//! Ways in: SSH and its tools, copying, terminals, with and without a network.

use crate::harness::{As, Realm, succeeded};
use std::path::Path;
use std::process::Stdio;

fn ssh_config(realm: &Realm) -> String {
    let path = realm.path("home/ssh-config");
    std::fs::write(&path, realm.ok(["ssh-config"])).unwrap();
    realm.give(&path);
    path.to_string_lossy().into_owned()
}

#[test]
fn plain_ssh_scp_sftp_and_rsync_work_with_and_without_a_network() {
    for network in [&[][..], &["--no-network"]] {
        let realm = Realm::of(As::Caller);
        realm.ok(["create", "box", "--start"].iter().chain(network));
        let config = ssh_config(&realm);
        let run = |program: &str, args: &[&str]| {
            let output = realm.program(program).args(args).output().unwrap();
            succeeded(args, output)
        };
        assert_eq!(run("ssh", &["-F", &config, "box.mvm", "echo", "hello"]), "hello\n");
        std::fs::write(realm.path("home/up"), "content\n").unwrap();
        let (up, down) = (realm.path("home/up"), realm.path("home/down"));
        let (up, down) = (up.to_str().unwrap(), down.to_str().unwrap());
        run("scp", &["-F", &config, "-q", up, "box.mvm:/tmp/one"]);
        run("scp", &["-F", &config, "-q", "box.mvm:/tmp/one", down]);
        assert_eq!(std::fs::read_to_string(down).unwrap(), "content\n");
        let mut sftp = realm
            .program("sftp")
            .args(["-F", &config, "-q", "-b", "-", "box.mvm"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let batch = format!(
            "put {up} /tmp/two\nget /tmp/two {down}.2\nmkdir /tmp/dir\nrename /tmp/two /tmp/dir/three\nls /tmp/dir\n"
        );
        std::io::Write::write_all(&mut sftp.stdin.take().unwrap(), batch.as_bytes()).unwrap();
        assert!(succeeded(&["sftp"], sftp.wait_with_output().unwrap()).contains("three"));
        assert_eq!(std::fs::read_to_string(format!("{down}.2")).unwrap(), "content\n");
        let ssh = format!("ssh -F {config}");
        run("rsync", &["-a", "-e", &ssh, up, "box.mvm:/tmp/four"]);
        assert_eq!(realm.sh("box", "cat /tmp/four"), "content\n");
    }
}

#[test]
fn another_host_key_is_refused() {
    let realm = Realm::new();
    realm.ok(["create", "box", "--copies", "2", "--start"]);
    let state = realm.path("state");
    // As if another machine answered in the VM's place.
    for file in ["known_hosts", "host_key.pub"] {
        std::fs::copy(state.join("box-2/ssh").join(file), state.join("box-1/ssh").join(file)).unwrap();
    }
    let output = realm.output(["exec", "box-1", "--", "true"]);
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("host key"), "{output:?}");
}

#[test]
fn files_and_directories_are_copied_either_way() {
    let realm = Realm::of(As::Ordinary);
    realm.ok(["create", "box", "--start"]);
    let from = realm.path("home/tree");
    std::fs::create_dir_all(from.join("sub")).unwrap();
    std::fs::write(from.join("sub/file"), "content\n").unwrap();
    std::os::unix::fs::symlink("sub/file", from.join("link")).unwrap();
    let from = from.to_str().unwrap();
    realm.ok(["cp", from, "box:/tmp/"]);
    assert_eq!(realm.sh("box", "cat /tmp/tree/sub/file; readlink /tmp/tree/link"), "content\nsub/file\n");
    let to = realm.path("home/back");
    realm.ok(["cp", "box:/tmp/tree", to.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(to.join("sub/file")).unwrap(), "content\n");
    assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("sub/file"));
    realm.ok(["cp", "box:/tmp/tree/sub/file", realm.path("home/single").to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(realm.path("home/single")).unwrap(), "content\n");
    let output = realm.output(["cp", "box:/tmp/absent", "/tmp/mvm-e2e-absent"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/tmp/absent"), "{output:?}");
}

#[test]
fn a_shell_has_a_terminal() {
    let realm = Realm::new();
    realm.ok(["create", "box", "--start"]);
    // script(1) is the terminal.
    let mvm = crate::harness::mvm();
    let shell = format!(
        "stty rows 33 cols 77; exec {mvm} shell box -- sh -c 'tty; stty size; echo TERM=$TERM; exit 5'"
    );
    let output =
        realm.program("script").args(["-qec", &shell, "/dev/null"]).env("TERM", "xterm").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("/dev/pts/"), "{text}");
    assert!(text.contains("33 77"), "{text}");
    assert!(text.contains("TERM=xterm"), "{text}");
    assert_eq!(output.status.code(), Some(5), "{text}");
}

#[test]
fn without_a_network_a_guest_has_only_loopback() {
    let realm = Realm::new();
    realm.ok(["create", "box", "--no-network", "--start"]);
    assert_eq!(realm.sh("box", "ls /sys/class/net"), "lo\n");
}

#[test]
fn with_a_network_a_guest_has_its_address_and_route() {
    let realm = Realm::of(As::Ordinary);
    realm.ok(["create", "box", "--start"]);
    let shown = realm.sh("box", "cat /proc/net/fib_trie /proc/net/route /etc/resolv.conf");
    assert!(shown.contains("192.168.100.10"), "{shown}");
    assert!(shown.contains("nameserver"), "{shown}");
    // The gateway is there (its MAC address is known after a packet), but has no service for guests.
    let probe = "import socket; s = socket.socket(); s.settimeout(2)\ntry: s.connect(('192.168.100.1', 22)); print('open')\nexcept OSError as e: print('closed')";
    assert_eq!(realm.ok(["exec", "box", "--", "python3", "-c", probe]), "closed\n");
}
