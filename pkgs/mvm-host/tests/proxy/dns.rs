//! The DNS relay.

use crate::rig::*;
use crate::support::in_namespaces;
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// A query's header, id 7, and something to tell it by.
fn query(text: &str) -> Vec<u8> {
    let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(text.as_bytes());
    query
}

/// A name server on the host that answers over UDP and TCP with its own address and the asker's.
fn name_server(address: &'static str) {
    let (udp, tcp) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
    let answer = move |query: &[u8], from: SocketAddr| {
        let mut answer = query[..12].to_vec();
        answer[2] |= 0x80;
        answer.extend(format!("{address} {from}").as_bytes());
        answer
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).unwrap();
            // What is no answer, or one to another query, is not passed on.
            udp.send_to(&buffer[..length], from).unwrap();
            let mut other = answer(&buffer[..length], from);
            other[1] ^= 1;
            udp.send_to(&other, from).unwrap();
            udp.send_to(&answer(&buffer[..length], from), from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).unwrap();
                let answer = answer(&query, stream.peer_addr().unwrap());
                stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&answer).unwrap();
            }
        }
    });
}

/// Asks the relay from inside the guest's namespace; the server's address and ours as it saw it.
fn ask(rig: &Rig, port: u16, timeout: Duration) -> Option<(String, String)> {
    rig.guest.call(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(timeout)).unwrap();
        socket.send(&query("who are you?")).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).ok()?;
        let text = String::from_utf8(buffer[12..length].to_vec()).unwrap();
        let (server, us) = text.split_once(' ').unwrap();
        Some((server.to_owned(), us.to_owned()))
    })
}

fn ask_tcp(rig: &Rig, port: u16) -> std::io::Result<String> {
    rig.guest.call(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let query = query("who are you?");
        stream.write_all(&u16::try_from(query.len()).unwrap().to_be_bytes())?;
        stream.write_all(&query)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        let text = String::from_utf8(answer[12..].to_vec()).unwrap();
        Ok(text.split_once(' ').unwrap().0.to_owned())
    })
}

#[test]
fn the_relay_follows_the_hosts_resolv_conf() {
    in_namespaces("dns::the_relay_follows_the_hosts_resolv_conf", || {
        for server in ["127.0.0.1:53", "127.0.0.2:53", "[::1]:53"] {
            name_server(server);
        }
        let rig = Rig::new();
        let file = resolv_conf(&rig);
        let write = |text: &str| {
            let new = file.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &file).unwrap();
        };
        // There is no file yet: nobody answers, and nothing breaks.
        assert_eq!(ask_tcp(&rig, 5301).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(ask(&rig, 5301, Duration::from_millis(100)), None);
        let short = Duration::from_millis(300);
        let answers = |port, server: &str| {
            until(server, || ask(&rig, port, short).is_some_and(|(answered, _)| answered == server));
            until(server, || ask_tcp(&rig, port).is_ok_and(|answered| answered == server));
        };
        write("nameserver 127.0.0.2\nnameserver ::1\n");
        answers(5301, "127.0.0.2:53");
        answers(5302, "[::1]:53");
        assert_eq!(ask_tcp(&rig, 5303).unwrap_err().kind(), ErrorKind::ConnectionReset);
        write("nameserver 127.0.0.1\nnameserver 127.0.0.1\nnameserver 127.0.0.2\n");
        answers(5301, "127.0.0.1:53");
        answers(5303, "127.0.0.2:53");
        std::fs::remove_file(&file).unwrap();
        until("nobody is asked any more", || ask_tcp(&rig, 5301).is_err());
    });
}

#[test]
fn each_query_has_a_port_of_its_own() {
    in_namespaces("dns::each_query_has_a_port_of_its_own", || {
        name_server("127.0.0.1:53");
        let rig = Rig::new();
        std::fs::write(resolv_conf(&rig), "nameserver 127.0.0.1\n").unwrap();
        let ports: HashSet<String> =
            (0..20).filter_map(|_| ask(&rig, 5301, DEADLINE)).map(|(_, us)| us).collect();
        // The kernel draws from 28,000; the same one thrice is out of the question.
        assert!(ports.len() >= 18, "{ports:?}");
    });
}
