//! The end of the machine.

use crate::console::say;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long processes may take to end before they are killed.
const GRACE: Duration = Duration::from_secs(2);

/// Ends every process: TERM (and HUP, which interactive shells heed), then after [`GRACE`] KILL. Returns when none is
/// left, which shows in PID 1 having no child: an orphan becomes its child.
pub async fn end_processes() {
    let all = Pid::from_raw(-1);
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCONT] {
        // ESRCH: there is no process.
        let _ = kill(all, signal);
    }
    if wait_for_children(GRACE).await {
        return;
    }
    say("some processes ignore SIGTERM; killing them");
    let _ = kill(all, Signal::SIGKILL);
    if !wait_for_children(GRACE).await {
        say("some processes can't be killed (uninterruptible?); going on without them");
    }
}

async fn wait_for_children(limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return true,
            Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => return false,
            Ok(WaitStatus::StillAlive) => tokio::time::sleep(Duration::from_millis(5)).await,
            _ => {}
        }
    }
}

/// Writes everything out and detaches what outlives the machine, so that the home disk's file system is clean.
pub fn detach_disks() {
    nix::unistd::sync();
    for place in ["/home", crate::mounts::PROJECT] {
        match umount2(place, MntFlags::empty()) {
            // EINVAL: nothing is mounted there.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => say(format_args!("can't unmount {place}: {errno}")),
        }
    }
    nix::unistd::sync();
}

/// Ends the machine at once; the VMM exits.
///
/// A reset, not a power-off: the `microvm` machine has no power button to press, whereas every machine run with
/// `-no-reboot` ends at a reset.
pub fn off() -> ! {
    nix::unistd::sync();
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    let _ = reboot(RebootMode::RB_POWER_OFF);
    loop {
        nix::unistd::pause();
    }
}
