//! Changes over the control socket.

use crate::rig::*;
use crate::support::in_namespaces;
use mvm_host::ports::proxy::protocol::{Listener, Reason, Refusal};
use mvm_host::ports::proxy::{Added, Client};
use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;

fn refusals(added: Added) -> Vec<Refusal> {
    match added {
        Added::Refused(refusals) => refusals,
        other => panic!("{other:?}"),
    }
}

fn is_closed(address: &str) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn forwards_are_set_added_and_removed() {
    in_namespaces("control::forwards_are_set_added_and_removed", || {
        let rig = Rig::new();
        let mode = std::fs::metadata(&rig.config.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(rig.add("a", &["8080:7001"]), Added::NotUp);
        assert_eq!(rig.remove("a", &["8080:7001"]), 0);
        assert!(rig.run(rig.client().clear(&name("a"))).unwrap().is_empty());
        // Many requests over one connection.
        let mut client = rig.client();
        assert!(rig.run(client.set(&name("a"), GUEST, vec![])).unwrap().is_empty());
        let wanted = forwards(&["8080:7001", "8081-8083:7001-7003", "8080:7001/udp", "8080:7001"]);
        for _ in 0..2 {
            let added = rig.run(client.add(&name("a"), wanted.clone())).unwrap();
            assert_eq!(added, Added::Served(wanted.clone()));
        }
        let listed = rig.run(client.list(None)).unwrap();
        assert_eq!((listed.len(), listed[0].vm.clone(), listed[0].address), (1, name("a"), GUEST));
        assert_eq!(listed[0].forwards.len(), 5);
        assert!(listed[0].forwards.iter().all(|served| served.blocked.is_none()));
        // Removal closes listener and connections.
        let mut stream = connect("127.0.0.1:8080");
        echoes(&stream, b"hello");
        let removed = rig.run(client.remove(&name("a"), forwards(&["8080:7001", "9999:1"]))).unwrap();
        assert_eq!(removed, forwards(&["8080:7001"]));
        assert!(is_closed("127.0.0.1:8080") && is_closed("[::1]:8080"));
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)), "a connection outlives its forward");
        let cleared = rig.run(client.clear(&name("a"))).unwrap();
        assert_eq!(cleared.len(), 4);
        assert!(is_closed("127.0.0.1:8082"));
        UdpSocket::bind("127.0.0.1:8080").unwrap();
        assert!(rig.run(client.list(None)).unwrap().is_empty());
        assert_eq!(rig.add("a", &["8080:7001"]), Added::NotUp);
    });
}

#[test]
fn a_set_leaves_alone_what_stays() {
    in_namespaces("control::a_set_leaves_alone_what_stays", || {
        let rig = Rig::new();
        rig.set(&["8080:7001", "8081:7001", "8082:7004"]);
        let (stays, mut goes) = (connect("127.0.0.1:8080"), connect("127.0.0.1:8081"));
        echoes(&stays, b"hello");
        echoes(&goes, b"hello");
        let inode = || {
            let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
            let line = table.lines().find(|line| line.contains(":1F90 00000000:0000 0A")).unwrap().to_owned();
            line.split_whitespace().nth(9).unwrap().to_owned()
        };
        let before = inode();
        // Another address is followed by new connections; another port of the guest is another forward.
        rig.set_vm("a", OTHER, &["8080:7001", "8081:7004", "8082:7004", "8083:7001"]);
        assert_eq!(inode(), before);
        echoes(&stays, b"still here");
        assert!(!matches!(goes.read(&mut [0]), Ok(1..)), "a connection outlives its forward");
        for port in [8081, 8082] {
            assert_eq!(rest(&connect(&format!("127.0.0.1:{port}"))), OTHER.to_string());
        }
        rig.set(&["8080:7001"]);
        echoes(&stays, b"still here");
        assert!(is_closed("127.0.0.1:8083"));
    });
}

#[test]
fn a_changed_address_is_followed_by_datagrams() {
    in_namespaces("control::a_changed_address_is_followed_by_datagrams", || {
        let rig = Rig::new();
        let heard = |address| {
            let socket = rig.guest.call(move || UdpSocket::bind((address, 7100)).unwrap());
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket
        };
        let (first, second) = (heard(GUEST), heard(OTHER));
        rig.set(&["8080:7100/udp"]);
        let client = udp_client("127.0.0.1:8080");
        client.send(b"one").unwrap();
        assert_eq!(first.recv(&mut [0; 9]).unwrap(), 3);
        rig.set_vm("a", OTHER, &["8080:7100/udp"]);
        client.send(b"three").unwrap();
        assert_eq!(second.recv(&mut [0; 9]).unwrap(), 5);
        until("the old session is over", || rig.served("a", "8080:7100/udp").connections == 1);
    });
}

#[test]
fn any_free_port_is_the_same_on_both_loopbacks() {
    in_namespaces("control::any_free_port_is_the_same_on_both_loopbacks", || {
        let rig = Rig::new();
        rig.set(&[]);
        let mut seen = std::collections::HashSet::new();
        for text in ["0:7001", "0:7001", "0.0.0.0:0:7001", "[::]:0:7001"] {
            let port = rig.add_any("a", text);
            assert!(port > 0 && seen.insert(port), "{text}: {port} again");
            let addresses: &[&str] = match text {
                "0:7001" => &["127.0.0.1", "[::1]"],
                "0.0.0.0:0:7001" => &["127.0.0.1"],
                _ => &["[::1]"],
            };
            for address in addresses {
                echoes(&connect(&format!("{address}:{port}")), b"hello");
            }
        }
        let port = rig.add_any("a", "0:7001/udp");
        for address in ["127.0.0.1", "[::1]"] {
            let client = udp_client(&format!("{address}:{port}"));
            client.send(b"hello").unwrap();
            assert_eq!(client.recv(&mut [0; 100]).unwrap(), 5);
        }
        assert_eq!(rig.list("a").len(), 5);
    });
}

#[test]
fn an_addition_is_all_or_nothing_and_names_who_has_the_port() {
    in_namespaces("control::an_addition_is_all_or_nothing_and_names_who_has_the_port", || {
        let rig = Rig::new();
        rig.set_vm("b", OTHER, &["9000:7001"]);
        rig.set(&["8080:7001"]);
        let _taken = TcpListener::bind("[::1]:8082").unwrap();
        let wanted =
            ["8081:7001", "8082:7001", "0.0.0.0:9000:1", "8080:7002", "8083:1", "8083:2", "192.0.2.1:8084:1"];
        let refused = refusals(rig.add("a", &wanted));
        let pid = i32::try_from(std::process::id()).unwrap();
        let program = std::fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned();
        let found: Vec<(u16, Reason)> =
            refused.iter().map(|refusal| (refusal.forward.host, refusal.reason.clone())).collect();
        let by = Some(Listener { pid, program: program.clone() });
        let expected = vec![
            (8082, Reason::PortTaken { by }),
            (9000, Reason::Forwarded { vm: name("b") }),
            (8080, Reason::Forwarded { vm: name("a") }),
            (8083, Reason::Forwarded { vm: name("a") }),
            (8084, Reason::NoSuchAddress),
        ];
        assert_eq!(found, expected);
        let said = refused[0].to_string();
        assert!(
            said.starts_with(&format!("can't forward TCP port 8082: `{program}` (process {pid})")),
            "{said}"
        );
        assert_eq!(rig.list("a").len(), 1);
        assert!(is_closed("127.0.0.1:8081") && is_closed("127.0.0.1:8083"));
        assert_eq!(rig.add("a", &["8081:7001"]), Added::Served(forwards(&["8081:7001"])));
        // The same port at other addresses, and of another protocol, is free.
        assert!(matches!(rig.add("a", &["127.0.0.2:9000:7001", "9000:7001/udp"]), Added::Served(_)));
    });
}

#[test]
fn what_is_blocked_is_served_when_it_can_be() {
    in_namespaces("control::what_is_blocked_is_served_when_it_can_be", || {
        let rig = Rig::new();
        let taken = TcpListener::bind("127.0.0.1:8080").unwrap();
        let blocked = rig.set(&["8080:7001", "8081:7001"]);
        assert_eq!(blocked.len(), 1);
        assert!(blocked[0].starts_with("can't forward TCP port 8080: "), "{blocked:?}");
        assert!(matches!(rig.served("a", "8080:7001").blocked, Some(Reason::PortTaken { .. })));
        echoes(&connect("127.0.0.1:8081"), b"hello");
        // Nothing is left at the other address.
        assert!(is_closed("[::1]:8080"));
        // Another VM does not overtake it.
        rig.set_vm("b", OTHER, &[]);
        assert_eq!(refusals(rig.add("b", &["8080:7004"]))[0].reason, Reason::Forwarded { vm: name("a") });
        drop(taken);
        until("the port is served", || rig.served("a", "8080:7001").blocked.is_none());
        echoes(&connect("[::1]:8080"), b"hello");
        // A VM that wants the port of another gets it when that one leaves.
        assert_eq!(rig.set_vm("b", OTHER, &["8080:7004"]).len(), 1);
        assert_eq!(rig.served("b", "8080:7004").blocked, Some(Reason::Forwarded { vm: name("a") }));
        rig.run(rig.client().clear(&name("a"))).unwrap();
        until("the port is served", || rig.served("b", "8080:7004").blocked.is_none());
        assert_eq!(rest(&connect("127.0.0.1:8080")), OTHER.to_string());
    });
}

#[test]
fn a_new_proxy_takes_the_ports_and_the_socket_of_one_that_was_killed() {
    in_namespaces("control::a_new_proxy_takes_the_ports_and_the_socket_of_one_that_was_killed", || {
        let mut rig = Rig::new();
        rig.set(&["8080:7001", "8080:7001/udp"]);
        let stream = connect("127.0.0.1:8080");
        echoes(&stream, b"hello");
        rig.proxy.0.kill().unwrap();
        rig.proxy.0.wait().unwrap();
        assert!(rig.run(Client::connect(&rig.config.socket)).unwrap().is_none());
        rig.proxy = start(&rig.config);
        assert!(rig.set(&["8080:7001", "8080:7001/udp"]).is_empty());
        echoes(&connect("127.0.0.1:8080"), b"hello");
        // Asked to end, it takes its socket with it.
        let pid = rustix::process::Pid::from_raw(i32::try_from(rig.proxy.0.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(rig.proxy.0.wait().unwrap().success());
        assert!(!rig.config.socket.exists());
        assert!(rig.run(Client::connect(&rig.config.socket)).unwrap().is_none());
    });
}

#[test]
fn nonsense_is_refused_and_harms_nobody() {
    in_namespaces("control::nonsense_is_refused_and_harms_nobody", || {
        let rig = Rig::new();
        let error = rig.run(rig.client().set(&name("a"), GUEST, forwards(&["0:80"]))).unwrap_err();
        assert!(error.to_string().contains("has the port 0"), "{error}");
        let mut raw = std::os::unix::net::UnixStream::connect(&rig.config.socket).unwrap();
        raw.set_read_timeout(Some(DEADLINE)).unwrap();
        std::io::Write::write_all(&mut raw, b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // Closed, with or without the rest of it read.
        assert!(!matches!(raw.read(&mut [0]), Ok(1..)));
        assert!(rig.set(&["8080:7001"]).is_empty());
        echoes(&connect("127.0.0.1:8080"), b"hello");
    });
}
