//! Sockets on the guests' side: in the realm's network namespace, which one thread enters to make them.

use super::bind;
use crate::sandbox::privileges;
use crate::{Error, Result};
use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Makes sockets where the guests are. A socket belongs for life to the namespace that it was made in, whichever thread
/// uses it (network_namespaces(7)).
#[derive(Clone, Debug)]
pub struct GuestSockets {
    /// None if this process is where the guests are.
    thread: Option<mpsc::Sender<Job>>,
}

/// What to make; all IPv4, non-blocking.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Stream,
    Datagram,
    Listener(SocketAddr),
    Bound(SocketAddr),
}

enum Job {
    Make(Kind, oneshot::Sender<io::Result<OwnedFd>>),
    GiveUp(mpsc::Sender<Result<()>>),
}

impl GuestSockets {
    /// For the namespace in `file`, or that of this process. Entering needs `CAP_SYS_ADMIN` over both namespaces.
    pub fn open(file: Option<&Path>) -> Result<Self> {
        let Some(path) = file else { return Ok(Self { thread: None }) };
        let file = File::open(path).map_err(Error::io("open", path))?;
        let (jobs, todo) = mpsc::channel();
        let (report, entered) = mpsc::channel();
        std::thread::Builder::new()
            .name("guest-sockets".to_owned())
            .spawn(move || {
                let result = setns(&file, CloneFlags::CLONE_NEWNET);
                drop(file);
                if report.send(result).is_ok() && result.is_ok() {
                    work(&todo);
                }
            })
            .map_err(Error::system("start a thread"))?;
        entered
            .recv()
            .unwrap_or(Err(nix::Error::ESRCH))
            .map_err(|errno| Error::io("enter the network namespace", path)(errno.into()))?;
        Ok(Self { thread: Some(jobs) })
    }

    /// Makes the thread give up its capabilities; to be called when this process has its final user and group.
    pub fn give_up(&self) -> Result<()> {
        let Some(thread) = &self.thread else { return Ok(()) };
        let (report, done) = mpsc::channel();
        let ended = || Error::Failed("the proxy's thread in the guests' namespace has ended".to_owned());
        thread.send(Job::GiveUp(report)).map_err(|_| ended())?;
        done.recv().map_err(|_| ended())?
    }

    /// A TCP socket.
    pub async fn tcp(&self) -> io::Result<OwnedFd> {
        self.make(Kind::Stream).await
    }

    /// A UDP socket.
    pub async fn udp(&self) -> io::Result<OwnedFd> {
        self.make(Kind::Datagram).await
    }

    /// A TCP socket that listens at `address`.
    pub async fn listener(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        self.make(Kind::Listener(address)).await
    }

    /// A UDP socket at `address`.
    pub async fn bound(&self, address: SocketAddr) -> io::Result<OwnedFd> {
        self.make(Kind::Bound(address)).await
    }

    async fn make(&self, kind: Kind) -> io::Result<OwnedFd> {
        let Some(thread) = &self.thread else { return make(kind) };
        let ended = || io::Error::other("the thread in the guests' namespace has ended");
        let (reply, made) = oneshot::channel();
        thread.send(Job::Make(kind, reply)).map_err(|_| ended())?;
        made.await.map_err(|_| ended())?
    }
}

fn work(todo: &mpsc::Receiver<Job>) {
    for job in todo {
        match job {
            // Whoever asked may have gone.
            Job::Make(kind, reply) => drop(reply.send(make(kind))),
            Job::GiveUp(report) => {
                drop(report.send(privileges::give_up(Uid::current(), Gid::current())));
            }
        }
    }
}

fn make(kind: Kind) -> io::Result<OwnedFd> {
    let plain = |kind| {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socket_with(AddressFamily::INET, kind, flags, None)
    };
    let socket = match kind {
        Kind::Stream => plain(SocketType::STREAM)?,
        Kind::Datagram => {
            let socket = plain(SocketType::DGRAM)?;
            rustix::net::sockopt::set_socket_recv_buffer_size(&socket, bind::UDP_BUFFER)?;
            socket
        }
        Kind::Listener(address) => bind::listen(address)?,
        Kind::Bound(address) => bind::bind_udp(address)?,
    };
    Ok(socket)
}
