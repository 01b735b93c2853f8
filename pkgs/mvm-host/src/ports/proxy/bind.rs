//! The host's side of a forward: its listening sockets.

use super::protocol::Reason;
use mvm_spec::forward::{Forward, Protocol};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use tokio::net::{TcpListener, UdpSocket};

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;
/// How many free ports of one address are tried until one is free at the other address too.
const FREE_PORT_TRIES: usize = 64;
/// Size asked for a UDP socket's receive buffer, in bytes; the kernel caps it at `net.core.rmem_max`.
pub const UDP_BUFFER: usize = 1 << 20;

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp(TcpListener),
    /// UDP; whether it stands for all addresses of the host.
    Udp(UdpSocket, Wildcard),
}

/// Whether a UDP socket stands for all addresses of the host, so that an answer must name its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// It has one address.
    No,
    /// All of a family.
    Yes,
}

/// Listens for `forward`. A forward with port 0 gets one that is free and not in `avoid`. Returns the forward as it is
/// now, with its sockets.
pub fn bind(forward: &Forward, avoid: impl Fn(&Forward) -> bool) -> Result<(Forward, Vec<Socket>), Reason> {
    if forward.host != 0 {
        return Ok((forward.clone(), at_port(forward)?));
    }
    let mut last = Reason::Other("no port is free".to_owned());
    // Sockets on ports that won't do stay until the end, lest the kernel offers them again.
    let mut unfit = Vec::new();
    for _ in 0..FREE_PORT_TRIES {
        let first = forward.addresses().first().copied().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let probe = open(forward.proto, SocketAddr::new(first, 0)).map_err(|errno| reason(errno, 0))?;
        let port = port_of(&probe)?;
        let candidate = Forward { host: port, ..forward.clone() };
        if avoid(&candidate) {
            unfit.push(probe);
            continue;
        }
        // The other address is tried while the first is held.
        match rest_at_port(&candidate, probe) {
            Ok(sockets) => return Ok((candidate, sockets)),
            Err(reason @ Reason::PortTaken { .. }) => last = reason,
            Err(other) => return Err(other),
        }
    }
    Err(last)
}

fn at_port(forward: &Forward) -> Result<Vec<Socket>, Reason> {
    let sockets = forward.addresses().into_iter().filter_map(|address| member(forward, address));
    sockets.collect()
}

/// The sockets of a forward whose first is there already.
fn rest_at_port(forward: &Forward, first: OwnedFd) -> Result<Vec<Socket>, Reason> {
    let addresses = forward.addresses();
    let mut sockets = Vec::with_capacity(addresses.len());
    if let Some(address) = addresses.first() {
        sockets.push(register(forward.proto, *address, first)?);
    }
    for address in addresses.into_iter().skip(1) {
        if let Some(socket) = member(forward, address) {
            sockets.push(socket?);
        }
    }
    Ok(sockets)
}

/// The forward's socket at one of its addresses; `None` if the host has no IPv6 loopback to listen on.
fn member(forward: &Forward, address: IpAddr) -> Option<Result<Socket, Reason>> {
    match open(forward.proto, SocketAddr::new(address, forward.host)) {
        Ok(socket) => Some(register(forward.proto, address, socket)),
        Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) if forward.address.is_none() && address.is_ipv6() => {
            None
        }
        Err(errno) => Some(Err(reason(errno, forward.host))),
    }
}

fn open(proto: Protocol, address: SocketAddr) -> Result<OwnedFd, Errno> {
    match proto {
        Protocol::Tcp => listen(address),
        Protocol::Udp => bind_udp(address),
    }
}

/// A non-blocking TCP socket that listens at `address`, in the calling thread's network namespace.
pub fn listen(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket(address, SocketType::STREAM)?;
    // So that a new proxy gets the ports of one whose connections linger; a port with a listener stays refused (ip(7)).
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A non-blocking UDP socket at `address`, in the calling thread's network namespace.
pub fn bind_udp(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let socket = socket(address, SocketType::DGRAM)?;
    sockopt::set_socket_recv_buffer_size(&socket, UDP_BUFFER)?;
    if address.ip().is_unspecified() {
        let failed = |errno: nix::Error| Errno::from_raw_os_error(errno as i32);
        match address.is_ipv4() {
            true => nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv4PacketInfo, &true)
                .map_err(failed)?,
            false => {
                nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv6RecvPacketInfo, &true)
                    .map_err(failed)?;
            }
        }
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn socket(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    Ok(socket)
}

fn register(proto: Protocol, address: IpAddr, socket: OwnedFd) -> Result<Socket, Reason> {
    let failed = |error: std::io::Error| match Errno::from_io_error(&error) {
        Some(errno) => reason(errno, 0),
        None => Reason::Other(error.to_string()),
    };
    match proto {
        Protocol::Tcp => TcpListener::from_std(socket.into()).map(Socket::Tcp),
        Protocol::Udp => {
            let wildcard = if address.is_unspecified() { Wildcard::Yes } else { Wildcard::No };
            UdpSocket::from_std(socket.into()).map(|socket| Socket::Udp(socket, wildcard))
        }
    }
    .map_err(failed)
}

fn port_of(socket: &OwnedFd) -> Result<u16, Reason> {
    let address = rustix::net::getsockname(socket).map_err(|errno| reason(errno, 0))?;
    let address = SocketAddr::try_from(address).map_err(|errno| reason(errno, 0))?;
    Ok(address.port())
}

/// What an error of a bind to `port` means.
fn reason(errno: Errno, port: u16) -> Reason {
    match errno {
        Errno::ADDRINUSE => Reason::PortTaken { by: None },
        Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => Reason::NoSuchAddress,
        Errno::MFILE | Errno::NFILE => {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
            Reason::TooManyFiles { limit: limit.unwrap_or(u64::MAX) }
        }
        Errno::ACCESS => {
            let start = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
            let start = start.ok().and_then(|start| start.trim().parse().ok()).unwrap_or(1024);
            if port < start {
                Reason::Privileged { start }
            } else {
                Reason::Other("the system forbids to listen there".to_owned())
            }
        }
        other => Reason::Other(std::io::Error::from(other).to_string()),
    }
}
