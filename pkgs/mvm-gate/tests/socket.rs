//! The built program behind a real socket: who is answered, with what, and that nothing sent to it ends it.
//!
//! systemd-socket-activate(1) passes the socket as systemd does. The callers are processes of other users, which takes
//! root; without it that is said.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

use mvm_gate::protocol::{Answer, Call};
use mvm_host::store::Store;
use mvm_spec::forward::ForwardRequest;
use mvm_spec::latest::{Guest, Network, Persistence, Resources, User, VERSION};
use mvm_spec::{VmName, VmSpec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);
/// A group that the test's member has and its stranger has not; `nogroup`, which every distribution has, by one of its
/// two names.
const STRANGER: u32 = 65_533;

fn declared(name: &str) -> VmSpec {
    let name = VmName::new(name).unwrap();
    VmSpec {
        version: VERSION,
        resources: Resources { vcpu: 1, mem_mib: 256 },
        guest: Guest::Nixos { hypervisor: "qemu".to_owned() },
        project: None,
        user: User { name: "dev".to_owned(), uid: 1000, gid: 1000 },
        network: Some(Network {
            bridge: "virbr-mvm".to_owned(),
            mac: name.mac(),
            address: format!("192.168.100.{}/24", if name.as_str() == "web" { 10 } else { 11 })
                .parse()
                .unwrap(),
            gateway: "192.168.100.1".parse().unwrap(),
            egress: Default::default(),
            peers: Vec::new(),
        }),
        forwards: format!("{}:80", if name.as_str() == "web" { 8080 } else { 8081 })
            .parse::<ForwardRequest>()
            .unwrap()
            .forwards()
            .collect(),
        persistence: Persistence::default(),
        environment: BTreeMap::new(),
        ephemeral: false,
        name,
    }
}

struct Gate {
    dir: tempfile::TempDir,
    process: Child,
    /// Id of the group that is let in.
    group: u32,
}

impl Gate {
    /// A gate with the declared VM `web`, and `db` that was never started; none if the caller is not root.
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("not here: callers of several users take root; run the tests as root, too");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // Other users' callers must come to the socket.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("declared")).unwrap();
        std::fs::create_dir(path("state")).unwrap();
        for name in ["web", "db"] {
            let text = serde_json::to_string(&declared(name)).unwrap();
            std::fs::write(path("declared").join(format!("{name}.json")), text).unwrap();
        }
        Store::open(path("state")).declare(declared("web")).unwrap();
        let group = nix::unistd::Group::from_name("daemon").unwrap().expect("the group `daemon`");
        let process = Command::new("systemd-socket-activate")
            .arg("--listen")
            .arg(path("gate.sock"))
            .arg("--setenv=MVM_STATE_DIR")
            .arg("--setenv=MVM_RUNTIME_DIR")
            .arg("--setenv=MVM_CACHE_DIR")
            .arg(env!("CARGO_BIN_EXE_mvm-gate"))
            .arg("--declared")
            .arg(path("declared"))
            .args(["--group", &group.name])
            .env("MVM_STATE_DIR", path("state"))
            .env("MVM_RUNTIME_DIR", path("run"))
            .env("MVM_CACHE_DIR", path("cache"))
            .stdin(Stdio::null())
            .spawn()
            .expect("systemd-socket-activate (package systemd)");
        let gate = Self { dir, process, group: group.gid.as_raw() };
        let begun = Instant::now();
        // It is there a moment before anybody listens.
        while UnixStream::connect(gate.socket()).is_err() {
            assert!(begun.elapsed() < DEADLINE, "nothing listened at the socket");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::fs::set_permissions(gate.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
        Some(gate)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("gate.sock")
    }

    /// What root is answered.
    fn ask(&self, call: &Call) -> Result<Answer, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(mvm_gate::client::ask(&self.socket(), call)).map_err(|error| error.to_string())
    }

    /// What a process of another user is answered, as JSON.
    fn asked_by(&self, groups: &str, call: &Call) -> String {
        const PROGRAM: &str = "
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
call = sys.argv[2].encode()
try:
    s.sendall(struct.pack('>I', len(call)) + call)
except BrokenPipeError:
    pass
got = b''
try:
    while more := s.recv(65536):
        got += more
except ConnectionResetError:
    pass
sys.stdout.buffer.write(got[4:])";
        let output = Command::new("setpriv")
            .args([
                "--reuid",
                &STRANGER.to_string(),
                "--regid",
                &STRANGER.to_string(),
                "--groups",
                groups,
                "--",
            ])
            .args(["/usr/bin/python3", "-c", PROGRAM])
            .arg(self.socket())
            .arg(serde_json::to_string(call).unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn vm(name: &str) -> VmName {
    VmName::new(name).unwrap()
}

fn key_of(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("state/web/ssh/user_key")).unwrap()
}

#[test]
fn members_and_root_are_answered_and_strangers_are_told_why_not() {
    let Some(gate) = Gate::new() else { return };
    let call = Call::Access { vm: vm("web") };
    let Ok(Answer::Access(access)) = gate.ask(&call) else { panic!("root is not answered") };
    assert_eq!((access.address.to_string().as_str(), access.user.as_str()), ("192.168.100.10", "dev"));
    assert_eq!(access.user_key, key_of(gate.dir.path()));
    assert!(!format!("{access:?}").contains("PRIVATE"), "keys don't belong into logs");
    let member = gate.asked_by(&format!("{STRANGER},{}", gate.group), &call);
    assert!(member.contains("192.168.100.10") && member.contains("PRIVATE KEY"), "{member}");
    let stranger = gate.asked_by(&STRANGER.to_string(), &call);
    assert!(stranger.contains("refused") && stranger.contains("microvm-dev"), "{stranger}");
    assert!(!stranger.contains("PRIVATE"), "{stranger}");
}

#[test]
fn forwards_come_and_go_and_privileged_ports_stay_roots() {
    let Some(gate) = Gate::new() else { return };
    let member = format!("{STRANGER},{}", gate.group);
    let add = |text: &str| Call::Add { vm: vm("web"), forwards: vec![text.to_owned()] };
    let added = gate.asked_by(&member, &add("127.0.0.1:39131:3000"));
    assert!(added.contains("39131") && added.contains("\"running\":false"), "{added}");
    let refused = gate.asked_by(&member, &add("80:3000"));
    assert!(refused.contains("privileged"), "{refused}");
    let Ok(Answer::Forwards { forwards, .. }) = gate.ask(&Call::Forwards { vm: vm("web") }) else {
        panic!("no forwards")
    };
    let there: Vec<(u16, bool)> =
        forwards.iter().map(|listed| (listed.forward.host, listed.declared)).collect();
    assert_eq!(there, [(8080, true), (39131, false)]);
    // What the configuration declares is changed there.
    let declared = gate.ask(&Call::Remove { vm: vm("web"), forwards: Some(vec!["8080".to_owned()]) });
    assert!(declared.as_ref().is_err_and(|said| said.contains("vms.web.forwardPorts")), "{declared:?}");
    let removed = gate.asked_by(&member, &Call::Remove { vm: vm("web"), forwards: None });
    assert!(removed.contains("39131"), "{removed}");
}

#[test]
fn only_declared_vms_are_spoken_of_and_those_that_never_ran_too() {
    let Some(gate) = Gate::new() else { return };
    let none = gate.ask(&Call::Access { vm: vm("none") }).unwrap_err();
    assert!(none.contains("not declared"), "{none}");
    let Ok(Answer::Forwards { running: false, forwards }) = gate.ask(&Call::Forwards { vm: vm("db") }) else {
        panic!("no forwards")
    };
    assert_eq!(forwards.iter().map(|listed| listed.forward.host).collect::<Vec<_>>(), [8081]);
    let Ok(Answer::Access(access)) = gate.ask(&Call::Access { vm: vm("db") }) else { panic!("no keys") };
    assert_eq!(access.address.to_string(), "192.168.100.11");
}

#[test]
fn whatever_is_sent_to_it_the_gate_answers_the_next_caller() {
    let Some(mut gate) = Gate::new() else { return };
    gate.ask(&Call::Access { vm: vm("web") }).unwrap();
    let frame = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    let json = "\\{\"(access|forwards|add|remove|denied|logs|x)\":\\{\"vm\":\"[a-z./]{0,9}\"(,\"forwards\":\\[\"[0-9:]{0,9}\"\\])?\\}\\}";
    let anything = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(move |body| frame(&body)),
        json.prop_map(move |text| frame(text.as_bytes())),
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let socket = gate.socket();
    runner
        .run(&anything, |bytes| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            // It may have had enough before all is sent.
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut answer = Vec::new();
            // What it did not read resets the connection, after its answer.
            match stream.read_to_end(&mut answer) {
                Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
                _ => Ok(()),
            }
        })
        .unwrap();
    gate.ask(&Call::Access { vm: vm("web") }).unwrap();
    assert!(gate.process.try_wait().unwrap().is_none(), "the gate has ended");
}
