//! Messages on the guest's console: what explains a boot that failed.

use nix::time::{ClockId, clock_gettime};
use std::io::Write;
use std::time::Duration;

/// Time since the kernel's start (CLOCK_BOOTTIME, clock_gettime(2)).
pub fn uptime() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Writes one line to standard error, which in a booted guest is `/dev/console`.
pub fn say(message: impl std::fmt::Display) {
    let uptime = uptime();
    // A console that can't be written to is no reason to stop.
    let _ = writeln!(
        std::io::stderr(),
        "mvm-guest: [{:3}.{:03}] {message}",
        uptime.as_secs(),
        uptime.subsec_millis()
    );
}
