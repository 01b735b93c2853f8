//! Capabilities and ids: kept across one exec where a helper needs them, then given up for good.

use crate::{Error, Result};
use caps::{CapSet, CapsHashSet};
use nix::unistd::{Gid, Uid};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes `command`'s program start with all capabilities that this process has in its user namespace.
///
/// In a user realm the user keeps the own id inside the namespace, and the kernel takes capabilities from an id other
/// than 0 at exec, unless they are ambient (capabilities(7)).
pub fn keep_capabilities(command: &mut Command) {
    let keep = || {
        let permitted = caps::read(None, CapSet::Permitted).map_err(std::io::Error::other)?;
        caps::set(None, CapSet::Inheritable, &permitted).map_err(std::io::Error::other)?;
        caps::set(None, CapSet::Ambient, &permitted).map_err(std::io::Error::other)
    };
    #[expect(unsafe_code, reason = "runs between fork and exec; only system calls on this process")]
    unsafe {
        command.pre_exec(keep);
    }
}

/// Becomes `uid`/`gid` with no supplementary group (where this process may change ids at all), without any
/// capability, now and after any exec.
pub fn give_up(uid: Uid, gid: Gid) -> Result<()> {
    let none = CapsHashSet::new();
    let failed =
        |error: caps::errors::CapsError| Error::Failed(format!("can't give up capabilities: {error}"));
    if Uid::current() != uid || Gid::current() != gid {
        nix::unistd::setgroups(&[]).map_err(Error::system("leave all groups"))?;
        nix::unistd::setresgid(gid, gid, gid).map_err(Error::system(format!("become group {gid}")))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(Error::system(format!("become user {uid}")))?;
    }
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).map_err(failed)? {
        for capability in caps::all() {
            // The kernel may know fewer than the library.
            if caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, capability).map_err(failed)?;
            }
        }
    }
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &none).map_err(failed)?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(Error::system("set no_new_privs"))
}

/// As [`give_up`], but keeps the capabilities `keep`, and through any exec: for a program that needs them and is not
/// trusted with more.
pub fn keep_only(uid: Uid, gid: Gid, keep: &[caps::Capability]) -> Result<()> {
    let failed =
        |error: caps::errors::CapsError| Error::Failed(format!("can't give up capabilities: {error}"));
    let keep: CapsHashSet = keep.iter().copied().collect();
    caps::clear(None, CapSet::Ambient).map_err(failed)?;
    if caps::has_cap(None, CapSet::Effective, caps::Capability::CAP_SETPCAP).map_err(failed)? {
        for capability in caps::all().difference(&keep) {
            // The kernel may know fewer than the library.
            if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
                caps::drop(None, CapSet::Bounding, *capability).map_err(failed)?;
            }
        }
    }
    if Uid::current() != uid || Gid::current() != gid {
        // Or the change of user would take them all.
        nix::sys::prctl::set_keepcaps(true).map_err(Error::system("keep capabilities"))?;
        nix::unistd::setgroups(&[]).map_err(Error::system("leave all groups"))?;
        nix::unistd::setresgid(gid, gid, gid).map_err(Error::system(format!("become group {gid}")))?;
        nix::unistd::setresuid(uid, uid, uid).map_err(Error::system(format!("become user {uid}")))?;
    }
    // Each of these is within the one before.
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted, CapSet::Ambient] {
        caps::set(None, set, &keep).map_err(failed)?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(Error::system("set no_new_privs"))
}
