//! The host's name servers, as resolv.conf(5) has them at the moment.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a look at the file is good for.
const FRESH: Duration = Duration::from_secs(1);
/// Where name servers listen.
const PORT: u16 = 53;

/// The servers of one file.
#[derive(Debug)]
pub struct NameServers {
    path: PathBuf,
    looked: Option<Instant>,
    stamp: Option<Stamp>,
    servers: Vec<SocketAddr>,
}

/// What tells one version of a file from the next: device, inode, size, and the times of the last changes of content
/// and inode, in nanoseconds.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl NameServers {
    /// Those of the file at `path`, which need not be there.
    pub fn new(path: PathBuf) -> Self {
        Self { path, looked: None, stamp: None, servers: Vec::new() }
    }

    /// The server with this index, from 0.
    pub fn get(&mut self, index: usize) -> Option<SocketAddr> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= FRESH) {
            self.look();
            self.looked = Some(Instant::now());
        }
        self.servers.get(index).copied()
    }

    fn look(&mut self) {
        let stamp = std::fs::metadata(&self.path).ok().map(|file| {
            (
                file.dev(),
                file.ino(),
                file.size(),
                (file.mtime(), file.mtime_nsec()),
                (file.ctime(), file.ctime_nsec()),
            )
        });
        if stamp.is_none() || stamp != self.stamp {
            self.stamp = stamp;
            self.servers = servers(&std::fs::read_to_string(&self.path).unwrap_or_default());
        }
    }
}

fn servers(text: &str) -> Vec<SocketAddr> {
    let addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next())?
    });
    addresses.filter_map(server).collect()
}

/// The form of an address in resolv.conf: IPv4, or IPv6 with or without the interface of a link-local one.
fn server(text: &str) -> Option<SocketAddr> {
    match text.split_once('%') {
        None => Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, PORT)),
        Some((address, interface)) => {
            let scope = interface.parse().ok().or_else(|| nix::net::if_::if_nametoindex(interface).ok())?;
            Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_resolvers_read_it() {
        let text = "# nameserver 1.1.1.1\nsearch example.org\n  nameserver\t127.0.0.53  # local\nnameserver ::1\n\
                    ;nameserver 2.2.2.2\nnameserver fe80::1%7\nnameserver nonsense\noptions edns0\nnameserver 9.9.9.9";
        let expected = ["127.0.0.53:53", "[::1]:53", "[fe80::1%7]:53", "9.9.9.9:53"];
        assert_eq!(servers(text), expected.map(|address| address.parse().unwrap()));
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_one_that_is_gone_has_no_servers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        let mut servers = NameServers::new(path.clone());
        let mut now = |index| {
            // As if time had passed.
            servers.looked = None;
            servers.get(index)
        };
        assert_eq!(now(0), None);
        std::fs::write(&path, "nameserver 192.0.2.1\n").unwrap();
        assert_eq!(now(0), Some("192.0.2.1:53".parse().unwrap()));
        assert_eq!(now(1), None);
        let new = dir.path().join("new");
        std::fs::write(&new, "nameserver 192.0.2.2\n").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert_eq!(now(0), Some("192.0.2.2:53".parse().unwrap()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(now(0), None);
    }
}
