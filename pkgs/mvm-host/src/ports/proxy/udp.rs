//! UDP forwards: a session for each client, with a socket of its own towards the guest.

use super::bind::Wildcard;
use super::scratch;
use super::sessions::{Key, Sessions};
use super::sockets::GuestSockets;
use super::traffic::{Target, Traffic};
use super::wildcard;
use rustix::io::Errno;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// Most sessions of one socket.
const SESSIONS: usize = 4096;
/// Silence that ends a session in which only one side has spoken.
const IDLE_ONE_WAY: Duration = Duration::from_secs(60);
/// Silence that ends a session in which both have.
const IDLE_BOTH: Duration = Duration::from_secs(180);
/// Datagrams that wait until a session's socket is made.
const WAITING: usize = 32;
/// Datagrams that one socket may pass on before others get their turn.
const TURN: usize = 64;

struct Relay {
    socket: UdpSocket,
    wildcard: Wildcard,
    guests: GuestSockets,
    target: Target,
    traffic: Rc<Traffic>,
    sessions: RefCell<Sessions<Rc<Session>>>,
}

struct Session {
    key: Key,
    target: SocketAddr,
    /// Connected to the guest; none while it is made.
    guest: RefCell<Option<Rc<UdpSocket>>>,
    waiting: RefCell<Vec<Vec<u8>>>,
    last: Cell<Instant>,
    answered: Cell<bool>,
    ended: tokio::sync::Notify,
}

/// Serves `socket` for ever. Dropping the future closes it and all its sessions.
pub async fn serve(
    socket: UdpSocket,
    wildcard: Wildcard,
    guests: GuestSockets,
    target: Target,
    traffic: Rc<Traffic>,
) {
    let sessions = RefCell::new(Sessions::new(SESSIONS));
    let relay = Rc::new(Relay { socket, wildcard, guests, target, traffic, sessions });
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            ready = relay.socket.readable() => match ready {
                Ok(()) => {
                    relay.pass_on(&mut tasks);
                    tokio::task::yield_now().await;
                }
                // Never seen; must not spin.
                Err(_) => sleep(Duration::from_secs(1)).await,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
}

impl Relay {
    /// Passes on what clients have sent.
    fn pass_on(self: &Rc<Self>, tasks: &mut JoinSet<()>) {
        for _ in 0..TURN {
            let new = scratch::with(|buffer| {
                let received = self.socket.try_io(Interest::READABLE, || match self.wildcard {
                    Wildcard::Yes => wildcard::receive(&self.socket, buffer),
                    Wildcard::No => {
                        let (length, from) = rustix::net::recvfrom(
                            &self.socket,
                            &mut *buffer,
                            rustix::net::RecvFlags::empty(),
                        )
                        .map(|(length, _, from)| (length, from))?;
                        let from = from.ok_or(Errno::AFNOSUPPORT)?;
                        Ok((length, Key { client: SocketAddr::try_from(from)?, local: None }))
                    }
                });
                match received {
                    Ok((length, key)) => Ok(self.to_guest(key, buffer.get(..length).unwrap_or_default())),
                    Err(error) => Err(error),
                }
            });
            match new {
                Ok(Some(session)) => drop(tasks.spawn_local(self.clone().run(session))),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // An ICMP error that an earlier answer met.
                Err(_) => {}
            }
        }
    }

    /// Passes a datagram on; returns the session if it is new and must be run.
    fn to_guest(&self, key: Key, datagram: &[u8]) -> Option<Rc<Session>> {
        let target = self.target.get();
        let mut sessions = self.sessions.borrow_mut();
        if let Some(session) = sessions.touch(&key) {
            if session.target == target {
                session.last.set(Instant::now());
                self.send(session, datagram);
                return None;
            }
            // The guest has another address now.
            if let Some(session) = sessions.remove(&key) {
                session.ended.notify_one();
            }
        }
        let session = Rc::new(Session {
            key: key.clone(),
            target,
            guest: RefCell::default(),
            waiting: RefCell::default(),
            last: Cell::new(Instant::now()),
            answered: Cell::new(false),
            ended: tokio::sync::Notify::new(),
        });
        if let Some(oldest) = sessions.insert(key, session.clone()) {
            oldest.ended.notify_one();
        }
        drop(sessions);
        self.send(&session, datagram);
        Some(session)
    }

    fn send(&self, session: &Session, datagram: &[u8]) {
        match &*session.guest.borrow() {
            Some(guest) => {
                if send(|| guest.try_send(datagram)) {
                    self.traffic.count_in(datagram.len());
                }
            }
            None => {
                let mut waiting = session.waiting.borrow_mut();
                if waiting.len() < WAITING {
                    waiting.push(datagram.to_vec());
                }
            }
        }
    }

    /// Runs a session to its end.
    async fn run(self: Rc<Self>, session: Rc<Session>) {
        let _open = self.traffic.open();
        tokio::select! {
            () = session.ended.notified() => return,
            result = self.answer(&session) => {
                if let Err(error) = result {
                    tracing::debug!("can't relay datagrams to {}: {error}", session.target);
                }
            }
        }
        let mut sessions = self.sessions.borrow_mut();
        // It may have been replaced meanwhile.
        if sessions.get(&session.key).is_some_and(|current| Rc::ptr_eq(current, &session)) {
            sessions.remove(&session.key);
        }
    }

    /// Passes the guest's answers back until the session is idle.
    async fn answer(&self, session: &Session) -> io::Result<()> {
        let guest = UdpSocket::from_std(self.guests.udp().await?.into())?;
        guest.connect(session.target).await?;
        // Until the runtime has seen it writable, it would refuse to send.
        guest.writable().await?;
        let guest = Rc::new(guest);
        *session.guest.borrow_mut() = Some(guest.clone());
        for datagram in session.waiting.take() {
            self.send(session, &datagram);
        }
        loop {
            let idle = if session.answered.get() { IDLE_BOTH } else { IDLE_ONE_WAY };
            let deadline = session.last.get() + idle;
            tokio::select! {
                ready = guest.readable() => {
                    ready?;
                    self.to_client(session, &guest);
                    tokio::task::yield_now().await;
                }
                () = sleep_until(deadline) => {
                    let spoken = session.last.get() + idle > deadline;
                    if !spoken {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn to_client(&self, session: &Session, guest: &UdpSocket) {
        for _ in 0..TURN {
            let result = scratch::with(|buffer| {
                let length = guest.try_recv(buffer)?;
                let datagram = buffer.get(..length).unwrap_or_default();
                let sent = send(|| {
                    self.socket.try_io(Interest::WRITABLE, || match session.key.local {
                        Some(_) => wildcard::send(&self.socket, datagram, &session.key),
                        None => Ok(rustix::net::sendto(
                            &self.socket,
                            datagram,
                            rustix::net::SendFlags::empty(),
                            &session.key.client,
                        )?),
                    })
                });
                if sent {
                    self.traffic.count_out(length);
                }
                Ok::<_, io::Error>(())
            });
            match result {
                Ok(()) => {
                    session.answered.set(true);
                    session.last.set(Instant::now());
                    self.sessions.borrow_mut().touch(&session.key);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // "Connection refused": nobody listens in the guest, yet.
                Err(_) => {}
            }
        }
    }
}

/// Sends a datagram. One that can't be sent is lost, as datagrams may be; but an error that an earlier one met is
/// reported in place of sending (udp(7)), so that a second attempt is made.
fn send(mut attempt: impl FnMut() -> io::Result<usize>) -> bool {
    match attempt() {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(_) => attempt().is_ok(),
    }
}
