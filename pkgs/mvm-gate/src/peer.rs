//! Who is at the other end of a Unix socket, by what the kernel says (unix(7), `SO_PEERCRED` and `SO_PEERGROUPS`): as of
//! when it connected, whatever it has become since.

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Group;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Who.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user id.
    pub uid: u32,
    /// Its process id, for logs.
    pub pid: i32,
    /// Its groups: the primary one, and all others.
    pub groups: Vec<u32>,
}

impl Peer {
    /// Who is at the other end of `socket`.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let socket = socket.as_fd();
        let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
        let mut groups = peer_groups(socket)?;
        groups.push(credentials.gid());
        Ok(Self { uid: credentials.uid(), pid: credentials.pid(), groups })
    }

    /// Whether it may use the gate: root, and members of `group`.
    pub fn may_enter(&self, group: Option<u32>) -> bool {
        self.uid == 0 || group.is_some_and(|group| self.groups.contains(&group))
    }
}

/// The id of the group `name`, if there is one.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// `SO_PEERGROUPS` (Linux 4.13), which nix has not.
fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // NGROUPS_MAX (linux/limits.h) is 65,536; few have more than this, and the kernel says how many there are.
    let mut groups = vec![0u32; 64];
    loop {
        let size = groups.len() * size_of::<u32>();
        let mut length = libc::socklen_t::try_from(size).map_err(io::Error::other)?;
        #[expect(
            unsafe_code,
            reason = "getsockopt(2) without a wrapper; the buffer has `length` bytes and outlives the call"
        )]
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let there = usize::try_from(length).map_err(io::Error::other)? / size_of::<u32>();
        if result == 0 {
            groups.truncate(there);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || there <= groups.len() {
            return Err(error);
        }
        groups.resize(there, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_kernel_says_who_is_there() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        assert!(peer.groups.contains(&nix::unistd::getgid().as_raw()));
        for group in nix::unistd::getgroups().unwrap() {
            assert!(peer.groups.contains(&group.as_raw()));
        }
    }

    #[test]
    fn root_and_members_enter_and_nobody_else() {
        let peer = |uid, groups: &[u32]| Peer { uid, pid: 1, groups: groups.to_vec() };
        assert!(peer(0, &[]).may_enter(None));
        assert!(peer(1000, &[100, 990]).may_enter(Some(990)));
        assert!(!peer(1000, &[100]).may_enter(Some(990)));
        assert!(!peer(1000, &[100]).may_enter(None));
    }
}
