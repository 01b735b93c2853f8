//! `mvm-guest`: the embedded guest's init, SSH server and applets.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    // The kernel passes unknown words of its command line to init as arguments, so that PID 1 never looks at them.
    if std::process::id() == 1 {
        mvm_guest::boot::init();
    }
    mvm_guest::applets::run(&arguments)
}
