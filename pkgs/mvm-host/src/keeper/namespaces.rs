//! The keeper's way into its namespaces (user_namespaces(7), pid_namespaces(7)).

use crate::realm::RealmKind;
use crate::{Error, Result};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid};
use std::io::{PipeReader, PipeWriter, Read, Write};

/// Enters the realm's namespaces. Returns in the keeper alone, with its process id as the host sees it; the process
/// that called ends, and one stays as the process namespace's init. The caller must have no other thread.
pub fn enter(kind: RealmKind) -> Result<i32> {
    match kind {
        RealmKind::User => enter_user_namespace()?,
        RealmKind::Host => {}
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC)
        .map_err(Error::system("make the realm's mount and process namespaces"))?;
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .map_err(Error::system("make the realm's mounts private"))?;
    // The first child is process 1 of the new process namespace.
    if let ForkResult::Parent { .. } = fork()? {
        std::process::exit(0);
    }
    if let ForkResult::Parent { child } = fork()? {
        be_init(child);
    }
    // The mount of /proc is the host's still, so that it knows us by the host's number.
    let link = std::fs::read_link("/proc/self").map_err(Error::io("read", "/proc/self"))?;
    link.to_string_lossy()
        .parse()
        .map_err(|_| Error::Failed(format!("/proc/self leads to {}", link.display())))
}

#[expect(unsafe_code, reason = "this process has no other thread, as the callers promise")]
fn fork() -> Result<ForkResult> {
    unsafe { nix::unistd::fork() }.map_err(Error::system("fork the keeper"))
}

/// The keeper's init, as the host sees it: the keeper's parent (`PPid:` in the host's `/proc`, proc(5)).
pub fn host_pid_of_init(keeper: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{keeper}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// Process 1: reaps what is orphaned, and ends with the keeper; the kernel then ends the rest.
fn be_init(keeper: Pid) -> ! {
    // The descriptors are the keeper's; a reader of its stdout must see it end.
    let _ = rustix::stdio::dup2_stdout(rustix::stdio::stderr());
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == keeper => std::process::exit(code),
            Ok(WaitStatus::Signaled(pid, ..)) if pid == keeper => std::process::exit(1),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => std::process::exit(1),
        }
    }
}

/// A user namespace in which every id keeps its number: the caller's alone, or, for root, all that root has.
fn enter_user_namespace() -> Result<()> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    if uid.is_root() {
        return enter_with_all_ids();
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| {
        Error::Failed(format!(
            "can't make a user namespace ({errno}): this system forbids it to ordinary users; `mvm doctor` says how to \
             allow it"
        ))
    })?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", &format!("{gid} {gid} 1"))
}

/// Maps of more than one's own id are written from outside (user_namespaces(7)): by a child that stays there.
fn enter_with_all_ids() -> Result<()> {
    let maps = [("uid_map", identity("/proc/self/uid_map")?), ("gid_map", identity("/proc/self/gid_map")?)];
    let failed = Error::system("make a pipe");
    let (entered, tell): (PipeReader, PipeWriter) = std::io::pipe().map_err(failed)?;
    let parent = std::process::id();
    match fork()? {
        ForkResult::Child => {
            drop(tell);
            let code = match write_maps(parent, &maps, entered) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("mvm: {error}");
                    1
                }
            };
            std::process::exit(code)
        }
        ForkResult::Parent { child } => {
            drop(entered);
            unshare(CloneFlags::CLONE_NEWUSER).map_err(Error::system("make a user namespace"))?;
            (&tell).write_all(b".").map_err(Error::system("write to a pipe"))?;
            match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 0)) => Ok(()),
                other => {
                    Err(Error::Failed(format!("can't map ids into the realm's user namespace ({other:?})")))
                }
            }
        }
    }
}

fn write_maps(parent: u32, maps: &[(&str, String)], mut entered: PipeReader) -> Result<()> {
    entered.read_exact(&mut [0]).map_err(Error::system("read from a pipe"))?;
    maps.iter().try_for_each(|(name, map)| write(&format!("/proc/{parent}/{name}"), map))
}

/// The ids of this namespace, each to itself: lines of `FIRST FIRST COUNT`.
fn identity(path: &str) -> Result<String> {
    let map = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    Ok(identity_of(&map))
}

fn identity_of(map: &str) -> String {
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (first, _, count) = (fields.next()?, fields.next()?, fields.next()?);
            Some(format!("{first} {first} {count}\n"))
        })
        .collect()
}

fn write(path: &str, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_map_of_ids_keeps_their_numbers() {
        assert_eq!(super::identity_of("         0          0 4294967295\n"), "0 0 4294967295\n");
        assert_eq!(super::identity_of("0 1000 1\n1 100000 65536\n"), "0 0 1\n1 1 65536\n");
    }
}
