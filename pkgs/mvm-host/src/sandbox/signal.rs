//! Signals for children that have become another user.

use nix::unistd::Uid;
use rustix::process::{Signal, pidfd_send_signal};
use rustix::thread::set_thread_res_uid;
use std::os::fd::AsFd;

/// Sends `signal` to a child that was started as who this process is, and becomes `user` by itself; with `CAP_SETUID` it
/// needs no power over everyone's processes (`CAP_KILL`) for that.
///
/// Errors: `SRCH` if it has ended.
pub fn send(pidfd: impl AsFd, signal: Signal, user: Uid) -> rustix::io::Result<()> {
    let pidfd = pidfd.as_fd();
    match pidfd_send_signal(pidfd, signal) {
        // In this order: the child may become the user in between, and never the other way.
        Err(rustix::io::Errno::PERM) if user != Uid::effective() => {
            send_as(user, || pidfd_send_signal(pidfd, signal))
        }
        sent => sent,
    }
}

/// Does `send` in a thread of its own with the effective user `user` (kill(2) asks for no more). The real and the saved
/// one stay, so that no process of `user` can signal the thread meanwhile, and with it this process.
fn send_as(user: Uid, send: impl Send + FnOnce() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    let as_user = || {
        // The system call's own effect, not the library's: other threads stay who they are.
        set_thread_res_uid(None, Some(rustix::process::Uid::from_raw(user.as_raw())), None)?;
        send()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, as_user);
        thread.map_or(Err(rustix::io::Errno::AGAIN), |thread| {
            thread.join().unwrap_or(Err(rustix::io::Errno::PERM))
        })
    })
}
