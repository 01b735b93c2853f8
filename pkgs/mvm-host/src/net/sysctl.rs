//! Kernel settings of the network namespace.
//!
//! `/proc/sys/net` shows the namespace of the thread that opens a file, not of the process: everything here must be
//! called on the realm's network thread.

use crate::realm::RealmKind;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A setting below `/proc/sys/net`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Path below `/proc/sys/net`.
    pub path: String,
    /// The value.
    pub value: &'static str,
}

fn sysctl(path: impl Into<String>, value: &'static str) -> Sysctl {
    Sysctl { path: path.into(), value }
}

/// Whether the namespace routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Packets are routed, under the rules.
    On,
    /// Nothing is routed, from one guest to another neither. A new namespace does not begin so: it inherits the host's
    /// settings (`net.core.devconf_inherit_init_net`).
    Off,
}

/// What holds for the whole namespace, set before there are interfaces. Of the host's own namespace only forwarding
/// is touched.
pub fn plan_namespace(kind: RealmKind, forwarding: Forwarding) -> Vec<Sysctl> {
    let mut plan = vec![sysctl("ipv4/ip_forward", if forwarding == Forwarding::On { "1" } else { "0" })];
    if kind == RealmKind::User {
        plan.extend([
            sysctl("ipv6/conf/all/disable_ipv6", "1"),
            sysctl("ipv6/conf/default/disable_ipv6", "1"),
            // Effective is "all or interface": only `all` can switch it off.
            sysctl("ipv4/conf/all/send_redirects", "0"),
        ]);
    }
    plan
}

/// What holds for a bridge or tap, set before it is up.
pub fn plan_interface(name: &str) -> Vec<Sysctl> {
    vec![
        sysctl(format!("ipv6/conf/{name}/disable_ipv6"), "1"),
        sysctl(format!("ipv4/conf/{name}/rp_filter"), "1"),
        sysctl(format!("ipv4/conf/{name}/accept_redirects"), "0"),
        sysctl(format!("ipv4/conf/{name}/send_redirects"), "0"),
        sysctl(format!("ipv4/conf/{name}/accept_source_route"), "0"),
        // Guests learn nothing about the namespace's other addresses, and reach no 127.0.0.0/8.
        sysctl(format!("ipv4/conf/{name}/route_localnet"), "0"),
        sysctl(format!("ipv4/conf/{name}/arp_ignore"), "1"),
    ]
}

/// What holds for a bridge, set before it is up. It answers ARP requests of one port for addresses of another, which does
/// not see them (Documentation/networking/ip-sysctl.rst, `proxy_arp_pvlan`): so that peers meet by way of the rules.
pub fn plan_bridge(name: &str) -> Vec<Sysctl> {
    let mut plan = plan_interface(name);
    plan.push(sysctl(format!("ipv4/conf/{name}/proxy_arp_pvlan"), "1"));
    plan
}

/// Brings the settings about; one that is so already is not written. A kernel without IPv6 is as good as IPv6 off.
pub fn apply(plan: &[Sysctl]) -> Result<()> {
    for Sysctl { path, value } in plan {
        let file = file(path);
        let written = match std::fs::read_to_string(&file) {
            Ok(current) if current.trim_end() == *value => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.starts_with("ipv6/") => Ok(()),
            Err(error) => Err(error),
            Ok(_) => std::fs::write(&file, value),
        };
        written.map_err(|error| {
            Error::Failed(format!(
                "can't set {} to {value}: {error}; in a container, /proc/sys/net must be writable",
                file.display()
            ))
        })?;
    }
    Ok(())
}

fn file(path: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(path)
}
