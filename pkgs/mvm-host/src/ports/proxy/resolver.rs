//! The DNS relay: 127.0.0.1 in the guests' namespace, a port for each of the host's name servers.
//!
//! Which these are is read from resolv.conf when a query comes, so that a host that changes its network, or has none for
//! a while, needs nothing done. Queries are passed on as they are.

use super::nameservers::NameServers;
use super::scratch;
use super::sockets::GuestSockets;
use super::tcp;
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The ports, in the order of the name servers.
pub const PORTS: [u16; 3] = [5301, 5302, 5303];
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Most queries of a port that wait for their answer.
const QUERIES: usize = 1024;
/// Length of a DNS header (RFC 1035 §4.1.1).
const HEADER: usize = 12;
/// The bit of the header's third byte that marks an answer.
const ANSWER_BIT: u8 = 0x80;

/// Starts the relay; it ends with the returned set.
pub async fn start(guests: &GuestSockets, resolv_conf: PathBuf) -> io::Result<JoinSet<()>> {
    let servers = Rc::new(RefCell::new(NameServers::new(resolv_conf)));
    let mut tasks = JoinSet::new();
    for (index, port) in PORTS.into_iter().enumerate() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::from_std(guests.listener(address).await?.into())?;
        let socket = UdpSocket::from_std(guests.bound(address).await?.into())?;
        tasks.spawn_local(serve_tcp(listener, index, servers.clone()));
        tasks.spawn_local(serve_udp(socket, index, servers.clone()));
    }
    Ok(tasks)
}

async fn serve_tcp(listener: TcpListener, index: usize, servers: Rc<RefCell<NameServers>>) {
    tcp::accept(&listener, |client| {
        let server = servers.borrow_mut().get(index);
        async move {
            match timeout(tcp::CONNECT, connect(server)).await {
                Ok(Ok(server)) => tcp::relay(client, server, None).await,
                _ => tcp::reset(client),
            }
        }
    })
    .await;
}

async fn connect(server: Option<SocketAddr>) -> io::Result<tokio::net::TcpStream> {
    let server = server.ok_or(io::ErrorKind::NotFound)?;
    let socket = if server.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    socket?.connect(server).await
}

async fn serve_udp(socket: UdpSocket, index: usize, servers: Rc<RefCell<NameServers>>) {
    let socket = Rc::new(socket);
    let mut queries = JoinSet::new();
    loop {
        tokio::select! {
            ready = socket.readable() => {
                if ready.is_err() {
                    // Never seen; must not spin.
                    sleep(Duration::from_secs(1)).await;
                }
                let received = scratch::with(|buffer| {
                    let (length, client) = socket.try_recv_from(buffer)?;
                    Ok::<_, io::Error>((buffer.get(..length).unwrap_or_default().to_vec(), client))
                });
                let Ok((query, client)) = received else { continue };
                if query.len() < HEADER || queries.len() >= QUERIES {
                    continue;
                }
                if let Some(server) = servers.borrow_mut().get(index) {
                    let socket = socket.clone();
                    // Whoever gets no answer asks again.
                    queries.spawn_local(async move {
                        let _ = timeout(ANSWER, answer(&socket, client, &query, server)).await;
                    });
                }
            }
            Some(_) = queries.join_next() => {}
        }
    }
}

/// Asks, from a port that nobody can guess (RFC 5452 §9.2), and passes the answer back.
async fn answer(socket: &UdpSocket, client: SocketAddr, query: &[u8], server: SocketAddr) -> io::Result<()> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let upstream = UdpSocket::bind(local).await?;
    // Connected, it hears nobody but the server.
    upstream.connect(server).await?;
    upstream.send(query).await?;
    loop {
        upstream.readable().await?;
        let answer = scratch::with(|buffer| {
            let length = upstream.try_recv(buffer)?;
            Ok::<_, io::Error>(buffer.get(..length).unwrap_or_default().to_vec())
        });
        match answer {
            Ok(answer) if answers(&answer, query) => {
                socket.send_to(&answer, client).await?;
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether `answer` has the form of an answer to `query`: its id, and the bit that marks answers.
fn answers(answer: &[u8], query: &[u8]) -> bool {
    let id = |message: &[u8]| message.get(..2).map(<[u8]>::to_vec);
    answer.len() >= HEADER
        && id(answer) == id(query)
        && answer.get(2).is_some_and(|flags| flags & ANSWER_BIT != 0)
}

#[cfg(test)]
mod tests {
    use super::answers;

    #[test]
    fn only_an_answer_with_the_querys_id_is_one() {
        let query = [7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let answer = [7, 8, 0x81, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        assert!(answers(&answer, &query));
        assert!(!answers(&query, &query));
        assert!(!answers(&[7, 9, 0x81, 0, 0, 1, 0, 0, 0, 0, 0, 0], &query));
        assert!(!answers(&answer[..11], &query));
    }
}
