//! The realm: its directories, its keeper, its leftovers.

use super::Check;
use crate::context::{Context, block_on};
use crate::draft::HostLimits;
use crate::units::{bytes, count, mib};
use mvm_host::client;
use mvm_host::keeper::leftovers::{self, Mode};

/// The state directory is ours to write, and has room.
pub fn state(context: &Context) -> Check {
    const NAME: &str = "state directory";
    let dir = &context.realm.state_dir;
    if let Err(error) = context.realm.create_dirs() {
        return Check::fail(
            NAME,
            error.to_string(),
            "set MVM_STATE_DIR, MVM_CACHE_DIR or MVM_RUNTIME_DIR to others",
        );
    }
    if rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_err() {
        return Check::fail(
            NAME,
            format!("{} is not writable", dir.display()),
            "set MVM_STATE_DIR to another",
        );
    }
    let Ok(system) = rustix::fs::statvfs(dir) else {
        return Check::warn(
            NAME,
            format!("{} can't be examined", dir.display()),
            "set MVM_STATE_DIR to another",
        );
    };
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    let kind = rustix::fs::statfs(dir).map_or("unknown", |fs| file_system(fs.f_type));
    let finding = format!("{} ({kind}, {} free)", dir.display(), bytes(free));
    if free < 256 * 1024 * 1024 {
        Check::warn(NAME, finding, "free some space, or set MVM_STATE_DIR to a directory with more")
    } else {
        Check::ok(NAME, finding)
    }
}

/// Names of file systems (statfs(2), linux/magic.h).
fn file_system(magic: rustix::fs::FsWord) -> &'static str {
    match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        0x6969 => "nfs",
        _ => "another file system",
    }
}

/// Memory for guests.
pub fn memory(_: &Context) -> Check {
    const NAME: &str = "host";
    match HostLimits::read() {
        Ok(HostLimits { cpus, mem_mib }) => {
            Check::ok(NAME, format!("{}, {} of memory", count(u64::from(cpus), "processor"), mib(mem_mib)))
        }
        Err(error) => Check::warn(NAME, format!("{error:#}"), "mount /proc"),
    }
}

/// The keeper answers, if there is one.
pub fn keeper(context: &Context) -> Check {
    const NAME: &str = "keeper";
    let log = context.realm.keeper_log();
    match block_on(async { Ok(client::status(&context.realm).await?) }) {
        Ok(vms) if vms.is_empty() => Check::ok(NAME, "no VM runs; it starts with the first"),
        Ok(vms) => Check::ok(NAME, format!("{} in its care", count(vms.len() as u64, "VM"))),
        Err(error) => Check::fail(NAME, crate::exit::chain(&error), format!("{} may say why", log.display())),
    }
}

/// What a crash left.
pub fn leftovers(context: &Context, fix: bool) -> Check {
    const NAME: &str = "leftovers";
    let mode = if fix { Mode::Remove } else { Mode::Find };
    match leftovers::sweep(&context.realm, mode) {
        Ok(found) if found.is_empty() => Check::ok(NAME, "none"),
        Ok(found) if fix => Check::ok(NAME, format!("removed {}", found.join(", "))),
        Ok(found) => Check::warn(NAME, found.join(", "), "mvm doctor --fix removes them"),
        Err(error) => Check::warn(NAME, error.to_string(), "remove it by hand"),
    }
}
