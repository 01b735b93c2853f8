//! UDP through the proxy.

use crate::rig::*;
use crate::support::{in_namespaces, shell};
use std::net::UdpSocket;

fn echo(socket: &UdpSocket, bytes: &[u8]) {
    socket.send(bytes).unwrap();
    let mut buffer = vec![0; 65536];
    let length = socket.recv(&mut buffer).unwrap();
    assert!(buffer[..length] == *bytes, "the echo of {} bytes has {length}", bytes.len());
}

#[test]
fn clients_have_sessions_of_their_own() {
    in_namespaces("udp::clients_have_sessions_of_their_own", || {
        let rig = Rig::new();
        assert!(rig.set(&["8080:7001/udp", "8081:7004/udp"]).is_empty());
        let clients: Vec<UdpSocket> =
            ["127.0.0.1:8080", "[::1]:8080", "127.0.0.1:8080"].map(udp_client).into();
        for round in 0..3 {
            // All ask before the first hears its answer.
            for (index, client) in clients.iter().enumerate() {
                client.send(format!("{index} {round}").as_bytes()).unwrap();
            }
            for (index, client) in clients.iter().enumerate() {
                let mut buffer = [0; 100];
                let length = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..length], format!("{index} {round}").as_bytes());
            }
        }
        let served = rig.served("a", "8080:7001/udp");
        assert_eq!((served.connections, served.bytes_in, served.bytes_out), (3, 27, 27));
        // A session keeps its port towards the guest.
        let client = udp_client("127.0.0.1:8081");
        let ask = || {
            client.send(b"who am I?").unwrap();
            let mut buffer = [0; 100];
            let length = client.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(ask(), ask());
    });
}

#[test]
fn datagrams_of_any_size_stay_whole() {
    in_namespaces("udp::datagrams_of_any_size_stay_whole", || {
        let rig = Rig::new();
        rig.set(&["8080:7001/udp", "0.0.0.0:8081:7001/udp"]);
        for address in ["127.0.0.1:8080", "[::1]:8080", "127.0.0.1:8081"] {
            let client = udp_client(address);
            for size in [0, 1, 1472, 1473, 9000, 65_507] {
                let bytes: Vec<u8> = (0..size).map(|index: usize| index.to_le_bytes()[0]).collect();
                echo(&client, &bytes);
            }
        }
    });
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    in_namespaces("udp::an_answer_comes_from_the_address_that_was_asked", || {
        shell("ip address add 10.98.0.1/32 dev lo; ip address add 10.98.0.2/32 dev lo");
        shell("ip address add fd00::1/128 dev lo nodad; ip address add fd00::2/128 dev lo nodad");
        let rig = Rig::new();
        assert!(rig.set(&["0.0.0.0:8080:7001/udp", "[::]:8080:7001/udp"]).is_empty());
        // A connected socket hears nobody but whom it asked.
        for address in
            ["10.98.0.1:8080", "10.98.0.2:8080", "127.0.0.1:8080", "[fd00::1]:8080", "[fd00::2]:8080"]
        {
            echo(&udp_client(address), address.as_bytes());
        }
        // One port of a client, two sessions.
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        for asked in ["10.98.0.1:8080", "10.98.0.2:8080", "10.98.0.1:8080"] {
            client.send_to(asked.as_bytes(), asked).unwrap();
            let (length, from) = client.recv_from(&mut [0; 100]).unwrap();
            assert_eq!((from.to_string().as_str(), length), (asked, asked.len()));
        }
    });
}

#[test]
fn a_guest_that_listens_later_is_reached() {
    in_namespaces("udp::a_guest_that_listens_later_is_reached", || {
        let rig = Rig::new();
        rig.set(&["8080:7100/udp"]);
        let client = udp_client("127.0.0.1:8080");
        // Met by "port unreachable" of the guest's kernel.
        for _ in 0..3 {
            client.send(b"lost").unwrap();
        }
        until("all have gone to the guest", || rig.served("a", "8080:7100/udp").bytes_in >= 4);
        let guest = rig.guest.call(|| UdpSocket::bind("0.0.0.0:7100").unwrap());
        guest.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut buffer = [0; 100];
        client.send(b"heard").unwrap();
        let from = loop {
            let (length, from) = guest.recv_from(&mut buffer).unwrap();
            if &buffer[..length] == b"heard" {
                break from;
            }
        };
        guest.send_to(b"answer", from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"answer");
    });
}
