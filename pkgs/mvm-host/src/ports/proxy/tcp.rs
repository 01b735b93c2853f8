//! TCP forwards: each connection is accepted, made anew to the guest, and relayed.

use super::carrier::Carrier;
use super::sockets::GuestSockets;
use super::traffic::{Target, Traffic};
use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How long the other end may take to accept a connection.
pub const CONNECT: Duration = Duration::from_secs(10);
/// How long an accept that failed waits for the next: first and longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long a peer may take to fetch what came before the other end's reset.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Silence after which a peer is asked whether it is there, the interval between questions, and how many may go
/// unanswered (tcp(7)).
const KEEP_ALIVE: (Duration, Duration, u32) = (Duration::from_secs(120), Duration::from_secs(15), 5);
/// Bytes that a connection may move before others get their turn.
const TURN: usize = 4 << 20;

/// Serves `listener` for ever. Dropping the future closes it and all its connections.
pub async fn serve(listener: TcpListener, sockets: GuestSockets, target: Target, traffic: Rc<Traffic>) {
    accept(&listener, |client| {
        let (sockets, target, traffic) = (sockets.clone(), target.clone(), traffic.clone());
        async move {
            let _open = traffic.open();
            let connected = timeout(CONNECT, async { connect(sockets.tcp().await?, target.get()).await });
            match connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(guest) => relay(client, guest, Some(&traffic)).await,
                Err(error) => {
                    tracing::debug!("can't connect to {}: {error}", target.get());
                    reset(client);
                }
            }
        }
    })
    .await;
}

/// Accepts for ever, each connection in a task of its own that ends with this future.
pub async fn accept<F>(listener: &TcpListener, mut connection: impl FnMut(TcpStream) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let mut connections = JoinSet::new();
    let mut wait = BACK_OFF.0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    wait = BACK_OFF.0;
                    connections.spawn_local(connection(stream));
                }
                // Mostly too many open files, while the client still waits in the queue; else the client has gone again.
                Err(error) => {
                    tracing::debug!("can't accept a connection: {error}");
                    sleep(wait).await;
                    wait = (wait * 2).min(BACK_OFF.1);
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Connects `socket`.
pub async fn connect(socket: OwnedFd, to: SocketAddr) -> io::Result<TcpStream> {
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

/// Which end broke a connection.
enum Broken {
    /// That which was read from.
    Source,
    /// That which was written to, or both.
    Sink,
}

/// Relays between `client` and `server` until both have said all, or one has broken.
pub async fn relay(client: TcpStream, server: TcpStream, traffic: Option<&Traffic>) {
    for stream in [&client, &server] {
        // Without these it is slower, or holds on to dead peers, but works.
        let _ = tune(stream);
    }
    let count_in = |bytes| traffic.into_iter().for_each(|traffic| traffic.count_in(bytes));
    let count_out = |bytes| traffic.into_iter().for_each(|traffic| traffic.count_out(bytes));
    let result = {
        let mut up = std::pin::pin!(pump(&client, &server, count_in));
        let mut down = std::pin::pin!(pump(&server, &client, count_out));
        tokio::select! {
            up = &mut up => match up {
                Ok(()) => until_broken(&client, down).await.map_err(|broken| (broken, &server, &client)),
                Err(broken) => Err((broken, &client, &server)),
            },
            down = &mut down => match down {
                Ok(()) => until_broken(&server, up).await.map_err(|broken| (broken, &client, &server)),
                Err(broken) => Err((broken, &server, &client)),
            },
        }
    };
    if let Err((broken, _, sink)) = result {
        if matches!(broken, Broken::Source) {
            // A server that answers and then resets, as it does when it has not read all, still has its answer heard.
            let _ = timeout(LAST_WORDS, delivered(sink)).await;
        }
        reset(client);
        reset(server);
    }
}

/// The direction that remains, while `ended` has nothing more to say but may still break.
async fn until_broken(
    ended: &TcpStream,
    remaining: impl Future<Output = Result<(), Broken>>,
) -> Result<(), Broken> {
    tokio::select! {
        biased;
        result = remaining => result,
        _ = ended.ready(Interest::ERROR) => Err(Broken::Sink),
    }
}

/// Carries bytes one way until the source ends, and then ends the sink's half.
async fn pump(source: &TcpStream, sink: &TcpStream, count: impl Fn(usize)) -> Result<(), Broken> {
    let mut turn = 0;
    loop {
        source.readable().await.map_err(|_| Broken::Source)?;
        let mut carrier = Carrier::new();
        loop {
            match carrier.fill(source) {
                Ok(0) => {
                    carrier.put_away();
                    let ended = rustix::net::shutdown(sink.as_fd(), rustix::net::Shutdown::Write);
                    return ended.map_err(|_| Broken::Sink);
                }
                Ok(bytes) => turn += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Broken::Source),
            }
            while !carrier.is_empty() {
                match carrier.drain(sink) {
                    Ok(bytes) => count(bytes),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => writable(source, sink).await?,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return Err(Broken::Sink),
                }
            }
            if turn >= TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        carrier.put_away();
    }
}

/// Waits until `sink` takes more; not for long once `source` has broken.
async fn writable(source: &TcpStream, sink: &TcpStream) -> Result<(), Broken> {
    tokio::select! {
        biased;
        writable = sink.writable() => return writable.map_err(|_| Broken::Sink),
        _ = source.ready(Interest::ERROR) => {}
    }
    let writable = timeout(LAST_WORDS, sink.writable()).await;
    writable.map_err(|_| Broken::Sink)?.map_err(|_| Broken::Sink)
}

fn tune(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_tcp_nodelay(stream, true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEP_ALIVE.0)?;
    sockopt::set_tcp_keepintvl(stream, KEEP_ALIVE.1)?;
    sockopt::set_tcp_keepcnt(stream, KEEP_ALIVE.2)
}

/// Closes `stream` so that the peer sees a reset, not an end.
pub fn reset(stream: TcpStream) {
    // At worst it sees an end.
    let _ = sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
}

/// Returns when the peer has acknowledged all that was written, or is gone.
async fn delivered(stream: &TcpStream) {
    let start = Instant::now();
    while unsent(stream).is_ok_and(|unsent| unsent > 0) {
        // The kernel tells nobody of this.
        sleep((start.elapsed() / 4).clamp(Duration::from_millis(1), Duration::from_millis(100))).await;
    }
}

/// Bytes written that the peer has not acknowledged (`SIOCOUTQ`, tcp(7)).
fn unsent(stream: &TcpStream) -> nix::Result<i32> {
    nix::ioctl_read_bad!(outq, libc::TIOCOUTQ, libc::c_int);
    let mut bytes = 0;
    // SAFETY: the pointer is valid for the int that SIOCOUTQ writes.
    #[expect(unsafe_code, reason = "ioctl(2) has no safe form")]
    unsafe {
        outq(stream.as_raw_fd(), &mut bytes)?;
    }
    Ok(bytes)
}
