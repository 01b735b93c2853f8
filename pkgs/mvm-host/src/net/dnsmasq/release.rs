//! Gives a lease back for a guest that is gone (DHCPRELEASE, RFC 2131 §4.4.6), as dhcp_release(1) does. While dnsmasq
//! knows the lease, it gives the address to nobody else.

use crate::{Error, Result};
use mvm_spec::net::MacAddr;
use nix::sys::socket::{setsockopt, sockopt};
use std::net::{Ipv4Addr, UdpSocket};

/// Sends the message for `mac`, which has leased `address`, to the server at `server` on `bridge`, in the network
/// namespace of the calling thread.
pub fn send(bridge: &str, server: Ipv4Addr, mac: MacAddr, address: Ipv4Addr) -> Result<()> {
    let send = || -> std::io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        // dnsmasq's socket takes packets of this interface only.
        setsockopt(&socket, sockopt::BindToDevice, &bridge.into())?;
        socket.send_to(&message(server, mac, address), (server, 67))?;
        Ok(())
    };
    send().map_err(Error::system(format!("give back the lease of {address}")))
}

fn message(server: Ipv4Addr, mac: MacAddr, address: Ipv4Addr) -> Vec<u8> {
    let mut message = vec![0; 236];
    // Request, Ethernet, 6 octets of address; no hop, nor any transaction to tell from others.
    message.splice(..4, [1, 1, 6, 0]);
    message.splice(12..16, address.octets());
    message.splice(28..34, mac.0);
    message.extend([0x63, 0x82, 0x53, 0x63]);
    // Message type: release. Server identifier. End.
    message.extend([53, 1, 7, 54, 4]);
    message.extend(server.octets());
    message.push(255);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_fields_where_rfc_2131_has_them() {
        let message = message([10, 0, 0, 1].into(), MacAddr([2, 0, 0, 0, 0, 9]), [10, 0, 0, 9].into());
        assert_eq!(message.len(), 236 + 4 + 3 + 6 + 1);
        assert_eq!(message[12..16], [10, 0, 0, 9], "ciaddr");
        assert_eq!(message[28..44], [2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "chaddr");
    }
}
