//! Who answers names that are not VMs'.
//!
//! The host's resolv.conf is often a link, which leads elsewhere when another program takes over, and is replaced rather
//! than written. dnsmasq would follow neither from within its view; so the keeper reads the file, from where it stands,
//! once a second, and writes its name servers into the instance's directory when they are others.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the host's resolv.conf is looked at.
pub const POLL: Duration = Duration::from_secs(1);

/// Who answers names that are not VMs'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// These name servers, the first first.
    Servers(Vec<SocketAddr>),
    /// Those that a file of the form resolv.conf(5) names at the moment; none while there is no such file.
    ResolvConf(PathBuf),
}

impl Upstream {
    /// The name servers at the moment, as dnsmasq writes them (`ADDRESS#PORT`).
    pub fn servers(&self) -> Vec<String> {
        match self {
            Self::Servers(servers) => {
                servers.iter().map(|server| format!("{}#{}", server.ip(), server.port())).collect()
            }
            Self::ResolvConf(path) => read(path),
        }
    }
}

/// No file, and one that can't be read, have no servers: a host that is offline is no error.
fn read(path: &Path) -> Vec<String> {
    parse(&String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()))
}

fn parse(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter(|server| is_address(server))
        .map(str::to_owned)
        .collect()
}

/// An address, of IPv6 with the interface of a link-local one (`fe80::1%eth0`).
fn is_address(text: &str) -> bool {
    match text.split_once('%') {
        None => text.parse::<IpAddr>().is_ok(),
        Some((address, interface)) => {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            matches!(address.parse(), Ok(IpAddr::V6(_)))
                && !interface.is_empty()
                && interface.bytes().all(fits)
        }
    }
}

/// The same servers in the form of resolv.conf(5).
pub fn resolv_conf(servers: &[String]) -> String {
    servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_gives_its_servers() {
        let text = "# generated\nnameserver 127.0.0.53\n  nameserver\tfd00::1 # two\nnameserver fe80::1%eth0\n\
                    nameserver bogus\nnameserver 1.2.3.4%x\nnameserver fe80::1%/x/\nnameserver\nnameservers 9.9.9.9\n\
                    search lan\noptions edns0\n";
        assert_eq!(parse(text), ["127.0.0.53", "fd00::1", "fe80::1%eth0"]);
        assert_eq!(resolv_conf(&parse("nameserver 9.9.9.9\nsearch x\n")), "nameserver 9.9.9.9\n");
    }

    #[test]
    fn no_file_is_no_server() {
        assert_eq!(Upstream::ResolvConf("/nonexistent/resolv.conf".into()).servers(), Vec::<String>::new());
        let servers = vec!["127.0.0.1:5301".parse().unwrap(), "[fd00::1]:53".parse().unwrap()];
        assert_eq!(Upstream::Servers(servers).servers(), ["127.0.0.1#5301", "fd00::1#53"]);
    }
}
