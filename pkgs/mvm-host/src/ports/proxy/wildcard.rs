//! Datagrams of a socket that stands for all addresses of the host: which one a client wrote to, and an answer that
//! comes from there (`IP_PKTINFO`, ip(7); `IPV6_PKTINFO`, RFC 3542 §6).

use super::sessions::Key;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use tokio::net::UdpSocket;

/// Receives a datagram.
pub fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, Key)> {
    let mut space = nix::cmsg_space!(libc::in6_pktinfo);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let client = message.address.as_ref().and_then(address).ok_or(io::ErrorKind::InvalidData)?;
    let local = message.cmsgs()?.find_map(|control| match control {
        // The host's own address even if the datagram was for a broadcast address.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::V4(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
        _ => None,
    });
    Ok((message.bytes, Key { client, local }))
}

/// Sends a datagram to the client of `key`, from the address that it wrote to.
pub fn send(socket: &UdpSocket, datagram: &[u8], key: &Key) -> io::Result<usize> {
    let parts = [IoSlice::new(datagram)];
    let client = SockaddrStorage::from(key.client);
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket.as_raw_fd(), &parts, control, MsgFlags::empty(), Some(&client))
    };
    let sent = match key.local {
        Some(IpAddr::V4(local)) => {
            let local = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
            let nowhere = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: local, ipi_addr: nowhere };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])
        }
        Some(IpAddr::V6(local)) => {
            let local = libc::in6_addr { s6_addr: local.octets() };
            // A link-local client's interface is in its scope id.
            let info = libc::in6_pktinfo { ipi6_addr: local, ipi6_ifindex: 0 };
            send(&[ControlMessage::Ipv6PacketInfo(&info)])
        }
        None => send(&[]),
    };
    Ok(sent?)
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|address| SocketAddr::V4(SocketAddrV4::from(*address)));
    v4.or_else(|| storage.as_sockaddr_in6().map(|address| SocketAddr::V6(SocketAddrV6::from(*address))))
}
