//! What the proxy may, and what it does when there is no more.

use crate::rig::*;
use crate::support::in_namespaces;
use mvm_host::ports::proxy::Added;
use mvm_host::ports::proxy::protocol::Reason;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Lets the proxy open so many files more than it has open now. The limit is on descriptors' numbers, which have gaps.
fn allow(rig: &Rig, more: usize) {
    let pid = Pid::from_raw(i32::try_from(rig.proxy.0.id()).unwrap()).unwrap();
    let files = std::fs::read_dir(format!("/proc/{}/fd", rig.proxy.0.id())).unwrap();
    let open: HashSet<u64> =
        files.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let current = (0..).filter(|number| !open.contains(number)).nth(more);
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// `/proc/PID/task/TID/status` of the proxy's threads; its first is the test harness's.
fn threads(rig: &Rig) -> Vec<String> {
    let pid = rig.proxy.0.id();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|task| task.unwrap());
    let tasks = tasks.filter(|task| task.file_name().to_str() != Some(&pid.to_string()));
    tasks.map(|task| std::fs::read_to_string(task.path().join("status")).unwrap()).collect()
}

fn assert_capabilities(status: &str, kept: u64) {
    for (field, value) in [("CapInh", 0), ("CapPrm", kept), ("CapEff", kept), ("CapBnd", 0), ("CapAmb", 0)] {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        assert!(line.ends_with(&format!("\t{value:016x}")), "{line}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
}

#[test]
fn it_has_no_privileges_and_says_so_of_low_ports() {
    in_namespaces("limits::it_has_no_privileges_and_says_so_of_low_ports", || {
        let rig = Rig::new();
        // The one that relays, and the one in the guests' namespace.
        let threads = threads(&rig);
        assert_eq!(threads.len(), 2);
        for status in threads {
            assert_capabilities(&status, 0);
        }
        rig.set(&[]);
        match rig.add("a", &["80:7001"]) {
            Added::Refused(refusals) => {
                assert_eq!(refusals[0].reason, Reason::Privileged { start: 1024 });
                let said = refusals[0].to_string();
                assert!(said.contains("net.ipv4.ip_unprivileged_port_start"), "{said}");
            }
            other => panic!("{other:?}"),
        }
        let open = rig.guest.call(|| std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"));
        open.unwrap();
        // The guest's namespace has a setting of its own: what counts is the host's.
        assert!(matches!(rig.add("a", &["80:7001"]), Added::Refused(_)));
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "80").unwrap();
        assert!(matches!(rig.add("a", &["80:7001"]), Added::Served(_)));
        echoes(&connect("127.0.0.1:80"), b"hello");
    });
}

#[test]
fn without_a_namespace_it_keeps_low_ports_and_nothing_else() {
    in_namespaces("limits::without_a_namespace_it_keeps_low_ports_and_nothing_else", || {
        let mut rig = Rig::new();
        rig.config.guest_namespace = None;
        rig.proxy = start(&rig.config);
        tcp_server(ECHO, |stream| {
            let _ = std::io::copy(&mut &stream, &mut &stream);
        });
        assert!(rig.set_vm("a", [127, 0, 0, 5].into(), &["80:7001"]).is_empty());
        echoes(&connect("[::1]:80"), b"hello");
        let threads = threads(&rig);
        assert_eq!(threads.len(), 1);
        // CAP_NET_BIND_SERVICE (linux/capability.h).
        assert_capabilities(&threads[0], 1 << 10);
    });
}

#[test]
fn clients_that_are_killed_leave_nothing_open() {
    in_namespaces("limits::clients_that_are_killed_leave_nothing_open", || {
        let rig = Rig::new();
        rig.set(&["8080:7001"]);
        let mut baseline = None;
        for round in 0..3 {
            let mut clients: Vec<_> = (0..10)
                .map(|_| {
                    // The second line is never read: the kernel resets the connection.
                    let script = "exec 3<>/dev/tcp/127.0.0.1/8080; echo hello >&3; read -r line <&3; \
                                  echo unread >&3; echo up; exec sleep 1000";
                    Command::new("bash").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap()
                })
                .collect();
            for client in &mut clients {
                let mut line = String::new();
                BufReader::new(client.stdout.take().unwrap()).read_line(&mut line).unwrap();
                assert_eq!(line, "up\n");
            }
            assert_eq!(rig.served("a", "8080:7001").connections, 10, "round {round}");
            for client in &mut clients {
                client.kill().unwrap();
                client.wait().unwrap();
            }
            until("all connections are over", || rig.served("a", "8080:7001").connections == 0);
            // A few pipes stay for the next connections, so that the first round is no measure.
            let open = rig.files();
            let most = *baseline.get_or_insert(open.max(40));
            assert!(open <= most, "{open} files are open in round {round}, {most} at most before");
        }
    });
}

#[test]
fn connections_are_served_without_pipes_and_wait_for_files() {
    in_namespaces("limits::connections_are_served_without_pipes_and_wait_for_files", || {
        let rig = Rig::new();
        let mut client = rig.client();
        rig.run(client.set(&name("a"), GUEST, forwards(&["8080:7001"]))).unwrap();
        // Two sockets, but no pipe.
        allow(&rig, 2);
        let first = connect("127.0.0.1:8080");
        echoes(&first, &vec![7; 300_000]);
        // Not even a socket: the kernel has accepted, the proxy can't yet.
        let second = connect("127.0.0.1:8080");
        echoes(&first, b"served meanwhile");
        drop(first);
        echoes(&second, b"served now");
        allow(&rig, 100);
        echoes(&connect("127.0.0.1:8080"), b"hello");
    });
}

#[test]
fn a_forward_beyond_the_file_limit_is_refused_until_there_is_room() {
    in_namespaces("limits::a_forward_beyond_the_file_limit_is_refused_until_there_is_room", || {
        let rig = Rig::new();
        let mut client = rig.client();
        rig.run(client.set(&name("a"), GUEST, vec![])).unwrap();
        // One socket of two.
        allow(&rig, 1);
        let add = rig.run(client.add(&name("a"), forwards(&["8080:7001"]))).unwrap();
        let Added::Refused(refusals) = add else { panic!("{add:?}") };
        assert!(matches!(refusals[0].reason, Reason::TooManyFiles { limit: 1.. }), "{refusals:?}");
        let blocked = rig.run(client.set(&name("a"), GUEST, forwards(&["8080:7001"]))).unwrap();
        assert_eq!(blocked.len(), 1);
        allow(&rig, 100);
        until("it is served", || rig.served("a", "8080:7001").blocked.is_none());
        echoes(&connect("[::1]:8080"), b"hello");
    });
}

#[test]
fn thousands_of_forwards_are_served() {
    in_namespaces("limits::thousands_of_forwards_are_served", || {
        let rig = Rig::new();
        let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        // Each has two sockets.
        let count = u16::try_from(((files - 200) / 2).min(5000)).unwrap();
        assert!(count > 100, "only {files} files may be open");
        let last = 10_000 + count - 1;
        let all = format!("10000-{last}:20000-{}", 20_000 + count - 1);
        assert_eq!(rig.set(&[&all]), Vec::<String>::new());
        assert_eq!(rig.list("a").len(), usize::from(count));
        rig.guest.call(move || {
            for port in [20_000, 20_000 + count - 1] {
                tcp_server(port, |stream| {
                    let _ = std::io::copy(&mut &stream, &mut &stream);
                });
            }
        });
        echoes(&connect("127.0.0.1:10000"), b"hello");
        echoes(&connect(&format!("[::1]:{last}")), b"hello");
        let few = rig.files();
        assert!(rig.set(&["10000:20000"]).is_empty());
        assert!(rig.files() + usize::from(count) < few);
        echoes(&connect("127.0.0.1:10000"), b"hello");
    });
}
