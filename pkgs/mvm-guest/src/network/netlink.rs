//! One change of the kernel's network configuration after the other (netlink(7)).
//!
//! `rtnetlink` makes the messages. Its connection, a task that serves any number of requests at once, is not used: the
//! kernel has answered when a message is sent, and an emulated guest spends a tenth of its start on code that it runs once.

use anyhow::{Context, bail};
use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Longer than any answer to a change: the kernel sends the request back in it.
const ANSWER_MAX: usize = 4096;

/// A connection to the kernel.
pub struct Netlink {
    socket: Socket,
}

impl Netlink {
    /// Opens it.
    pub fn open() -> anyhow::Result<Self> {
        let open = || {
            let socket = Socket::new(NETLINK_ROUTE)?;
            // The kernel's own address.
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok::<_, std::io::Error>(socket)
        };
        Ok(Self { socket: open().context("can't open a netlink socket")? })
    }

    /// Brings the interface `index` up.
    pub fn up(&mut self, index: u32) -> anyhow::Result<()> {
        self.change(RouteNetlinkMessage::SetLink(LinkUnspec::new_with_index(index).up().build()))
    }

    /// Makes the change that `message` asks for. What it would make must not be there yet.
    pub fn change(&mut self, message: RouteNetlinkMessage) -> anyhow::Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0).context("can't ask the kernel")?;
        let mut answer = Vec::with_capacity(ANSWER_MAX);
        self.socket.recv(&mut answer, 0).context("can't hear the kernel's answer")?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
            .context("can't understand the kernel's answer")?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
            NetlinkPayload::Error(error) => Err(error.to_io().into()),
            _ => bail!("the kernel answers something else"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_and_the_next_request_is_answered_by_its_own() {
        let mut netlink = Netlink::open().unwrap();
        for _ in 0..2 {
            let error = netlink.up(u32::MAX >> 1).unwrap_err();
            let error = error.downcast::<std::io::Error>().unwrap();
            // Who may not change the network at all is told so, whichever interface it is.
            let expected = [libc::ENODEV, libc::EPERM];
            assert!(error.raw_os_error().is_some_and(|code| expected.contains(&code)), "{error}");
        }
    }
}
