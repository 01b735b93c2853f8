//! Which ports of the host are free for forwards.

use super::Mvm;
use mvm_spec::VmName;
use serde::Deserialize;
use std::collections::BTreeSet;

/// Ports that are not to be had: other VMs', running or not, and those that somebody listens on.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Ports of other VMs.
    pub claimed: BTreeSet<u16>,
    /// Asked about the others.
    pub listening: Option<fn(u16) -> bool>,
}

#[derive(Deserialize)]
struct Row {
    name: VmName,
    #[serde(default)]
    forwards: Vec<Forward>,
}

#[derive(Deserialize)]
struct Forward {
    host: u16,
    proto: String,
}

impl Taken {
    /// As `mvm list` and the kernel say; what VM `name` has itself is its own.
    ///
    /// Errors: `mvm list` fails.
    pub fn now(mvm: &dyn Mvm, name: &VmName) -> anyhow::Result<Self> {
        let listed = super::asked::called(mvm, &["list", "--json"], None, "list the VMs")?;
        let rows: Vec<Row> = serde_json::from_str(&listed)?;
        let others = rows.into_iter().filter(|row| row.name != *name).flat_map(|row| row.forwards);
        let claimed = others.filter(|forward| forward.proto == "tcp").map(|forward| forward.host).collect();
        Ok(Self { claimed, listening: Some(listened) })
    }

    /// Whether `port` is taken.
    pub fn has(&self, port: u16) -> bool {
        self.claimed.contains(&port) || self.listening.is_some_and(|listening| listening(port))
    }
}

/// Whether a loopback address of this host can't be listened on.
fn listened(port: u16) -> bool {
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
    let addresses: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    addresses.into_iter().any(|address| {
        // A host without IPv6 has nobody listening there.
        TcpListener::bind(address)
            .is_err_and(|error| matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_taken() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let taken = Taken { listening: Some(listened), ..Taken::default() };
            assert!(taken.has(listener.local_addr().unwrap().port()), "{address}");
        }
        assert!(Taken { claimed: [3000].into(), listening: None }.has(3000));
    }
}
