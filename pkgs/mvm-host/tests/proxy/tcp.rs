//! TCP through the proxy.

use crate::rig::*;
use crate::support::in_namespaces;
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Duration;

#[test]
fn connections_reach_the_guest_over_both_families() {
    in_namespaces("tcp::connections_reach_the_guest_over_both_families", || {
        let rig = Rig::new();
        assert!(rig.set(&["8080:7001"]).is_empty());
        for address in ["127.0.0.1:8080", "[::1]:8080"] {
            let stream = connect(address);
            echoes(&stream, b"hello");
            echoes(&stream, b"again");
            assert_eq!(rig.served("a", "8080:7001").connections, 1);
            drop(stream);
            until("the connection is counted out", || rig.served("a", "8080:7001").connections == 0);
        }
        let served = rig.served("a", "8080:7001");
        assert_eq!((served.bytes_in, served.bytes_out, served.blocked), (20, 20, None));
    });
}

#[test]
fn each_half_ends_by_itself() {
    in_namespaces("tcp::each_half_ends_by_itself", || {
        let rig = Rig::new();
        rig.set(&["8080:7002", "8081:7100"]);
        // The client says all, then hears the answer.
        let mut stream = connect("127.0.0.1:8080");
        stream.write_all(&[7; 100_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&stream), "heard 100000 bytes");
        // The guest ends first, and still hears.
        let connections = handed_out(&rig.guest, 7100);
        let mut client = connect("127.0.0.1:8081");
        let mut guest = connections.recv_timeout(DEADLINE).unwrap();
        guest.write_all(b"goodbye").unwrap();
        guest.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&client), "goodbye");
        client.write_all(b"wait").unwrap();
        let mut heard = [0; 4];
        guest.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"wait");
        drop(client);
        assert_eq!(rest(&guest), "");
    });
}

#[test]
fn much_goes_both_ways_unharmed_past_a_slow_reader() {
    in_namespaces("tcp::much_goes_both_ways_unharmed_past_a_slow_reader", || {
        let rig = Rig::new();
        rig.set(&["8080:7001"]);
        let stream = connect("127.0.0.1:8080");
        // No block is like another.
        let block = |index: u32| -> Vec<u8> {
            let seed: [u8; 32] = Sha256::digest(index.to_be_bytes()).into();
            seed.repeat(2048)
        };
        let mut writer = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let mut sum = Sha256::new();
            for index in 0..1024 {
                sum.update(block(index));
                writer.write_all(&block(index)).unwrap();
            }
            writer.shutdown(Shutdown::Write).unwrap();
            sum.finalize()
        });
        let (mut sum, mut total, mut reader) = (Sha256::new(), 0, &stream);
        let mut buffer = vec![0; 1 << 20];
        loop {
            // First in sips, then in gulps.
            let most = if total < 1 << 20 { 700 } else { buffer.len() };
            let read = reader.read(&mut buffer[..most]).unwrap();
            if read == 0 {
                break;
            }
            sum.update(&buffer[..read]);
            total += read;
        }
        assert_eq!(total, 64 << 20);
        assert!(sending.join().unwrap() == sum.finalize(), "what came back is not what was sent");
    });
}

#[test]
fn a_sender_waits_for_a_guest_that_does_not_read() {
    in_namespaces("tcp::a_sender_waits_for_a_guest_that_does_not_read", || {
        let rig = Rig::new();
        rig.set(&["8080:7100"]);
        let connections = handed_out(&rig.guest, 7100);
        let mut client = connect("127.0.0.1:8080");
        let mut guest = connections.recv_timeout(DEADLINE).unwrap();
        // Nothing is taken for so long: all buffers on the way are full.
        client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut sent = 0;
        loop {
            match client.write(&[7; 65536]) {
                Ok(bytes) => sent += bytes,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
            assert!(sent < 200 << 20, "200 MiB are somewhere on the way");
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", rig.proxy.0.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident: usize = resident.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(resident < 65536, "the proxy has grown to {resident} KiB");
        // When the guest reads on, all of it comes.
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(std::io::copy(&mut guest, &mut std::io::sink()).unwrap(), sent as u64);
    });
}

#[test]
fn resets_and_refusals_are_seen_as_such() {
    in_namespaces("tcp::resets_and_refusals_are_seen_as_such", || {
        let rig = Rig::new();
        rig.set(&["8080:7003", "8081:7999", "8082:7100"]);
        // Of the guest.
        let mut stream = connect("127.0.0.1:8080");
        stream.write_all(b"x").unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        // Nobody listens in the guest.
        let mut stream = connect("127.0.0.1:8081");
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let connections = handed_out(&rig.guest, 7100);
        // Of the client, even after it has ended its half.
        for half_closed in [false, true] {
            let client = connect("127.0.0.1:8082");
            let mut guest = connections.recv_timeout(DEADLINE).unwrap();
            if half_closed {
                client.shutdown(Shutdown::Write).unwrap();
                assert_eq!(guest.read(&mut [0]).unwrap(), 0);
            }
            rustix::net::sockopt::set_socket_linger(client.as_fd(), Some(Duration::ZERO)).unwrap();
            drop(client);
            until("the guest is told", || {
                // A reset after the end of the other half is only met by writing.
                let error = if half_closed { guest.write(b"x").err() } else { guest.read(&mut [0]).err() };
                error.is_some_and(|error| {
                    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
                })
            });
            until("the connection is over", || rig.served("a", "8082:7100").connections == 0);
        }
        // What the guest said before its reset is heard: a server that did not read all of the request.
        let mut client = connect("127.0.0.1:8082");
        let mut guest = connections.recv_timeout(DEADLINE).unwrap();
        client.write_all(b"a long request").unwrap();
        guest.read_exact(&mut [0]).unwrap();
        // As much as the connection holds: the rest would be lost without a proxy too.
        let answer = vec![b'n'; 20_000];
        guest.write_all(&answer).unwrap();
        drop(guest);
        let mut heard = vec![0; answer.len()];
        client.read_exact(&mut heard).unwrap();
        assert!(heard == answer);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    });
}
