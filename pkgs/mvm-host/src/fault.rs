//! Points at which a test can kill this process, to see what a crash there leaves behind.
//!
//! Each step that changes something outside the process names itself ([`point`]). A process with
//! `MVM_FAULT_POINT=NAME` in its environment kills itself there with SIGKILL, which no clean-up survives: what is found
//! afterwards is what any crash at that step leaves. The variable can't do more than kill the process that has it.

use std::ffi::OsStr;

/// The variable that names a point.
pub const VARIABLE: &str = "MVM_FAULT_POINT";

/// Ends this process with SIGKILL if `MVM_FAULT_POINT` is `name`; otherwise does nothing.
pub fn point(name: &'static str) {
    if std::env::var_os(VARIABLE).is_some_and(|wanted| wanted == OsStr::new(name)) {
        // kill(2) of oneself returns only if it was refused, which the test that asked for it notices.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
    }
}
