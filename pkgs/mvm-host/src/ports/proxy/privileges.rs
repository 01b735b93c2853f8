//! What the proxy keeps of its privileges.

use crate::sandbox::privileges::give_up;
use crate::{Error, Result};
use caps::{CapSet, Capability, CapsHashSet};
use nix::unistd::{Gid, Uid};

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// No capability.
    Nothing,
    /// `CAP_NET_BIND_SERVICE`, if there.
    LowPorts,
}

/// Becomes user and group `ids`, if given, without supplementary groups, and gives up every capability of the calling
/// thread but what `keep` says, and `no_new_privs` on top.
pub fn reduce(ids: Option<(u32, u32)>, keep: Keep) -> Result<()> {
    let (uid, gid) = match ids {
        Some((uid, gid)) => (Uid::from_raw(uid), Gid::from_raw(gid)),
        None => (Uid::current(), Gid::current()),
    };
    match keep {
        Keep::Nothing => give_up(uid, gid),
        Keep::LowPorts => keep_low_ports(uid, gid),
    }
}

fn keep_low_ports(uid: Uid, gid: Gid) -> Result<()> {
    let failed =
        |error: caps::errors::CapsError| Error::Failed(format!("can't reduce capabilities: {error}"));
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed)? {
        for capability in caps::all() {
            // The kernel may know fewer than the library.
            if caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, capability).map_err(failed)?;
            }
        }
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    if Uid::current() != uid || Gid::current() != gid {
        // Leaving user id 0 would take this one too (capabilities(7)).
        nix::sys::prctl::set_keepcaps(true).map_err(Error::system("keep a capability"))?;
        nix::unistd::setgroups(&[]).map_err(Error::system("leave all groups"))?;
        nix::unistd::setresgid(gid, gid, gid).map_err(Error::system(format!("become group {gid}")))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(Error::system(format!("become user {uid}")))?;
    }
    let permitted = caps::read(None, CapSet::Permitted).map_err(failed)?;
    let kept: CapsHashSet =
        permitted.into_iter().filter(|capability| *capability == Capability::CAP_NET_BIND_SERVICE).collect();
    caps::set(None, CapSet::Inheritable, &CapsHashSet::new()).map_err(failed)?;
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).map_err(failed)?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(Error::system("set no_new_privs"))
}
