//! Signals on their way to the guest, and back.

use russh::Sig;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Two interrupts within this time are meant for `mvm` itself.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// The signals that end processes by request.
pub struct Endings {
    hangup: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    last: Option<(libc::c_int, Instant)>,
}

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub number: libc::c_int,
    /// Whether it came twice in short order.
    pub again: bool,
}

impl Endings {
    /// Takes these signals over for the process.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            last: None,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Arrived {
        let number = tokio::select! {
            _ = self.hangup.recv() => libc::SIGHUP,
            _ = self.interrupt.recv() => libc::SIGINT,
            _ = self.quit.recv() => libc::SIGQUIT,
            _ = self.terminate.recv() => libc::SIGTERM,
        };
        let now = Instant::now();
        let again = self.last.is_some_and(|(last, when)| last == number && now - when < IMPATIENCE);
        self.last = Some((number, now));
        Arrived { number, again }
    }
}

/// A signal's name in SSH (RFC 4254, section 6.10).
pub fn to_ssh(number: libc::c_int) -> Sig {
    match number {
        libc::SIGHUP => Sig::HUP,
        libc::SIGINT => Sig::INT,
        libc::SIGQUIT => Sig::QUIT,
        _ => Sig::TERM,
    }
}

/// A signal's number on Linux; `None` for a name that no signal has here.
pub fn from_ssh(signal: &Sig) -> Option<libc::c_int> {
    Some(match signal {
        Sig::ABRT => libc::SIGABRT,
        Sig::ALRM => libc::SIGALRM,
        Sig::FPE => libc::SIGFPE,
        Sig::HUP => libc::SIGHUP,
        Sig::ILL => libc::SIGILL,
        Sig::INT => libc::SIGINT,
        Sig::KILL => libc::SIGKILL,
        Sig::PIPE => libc::SIGPIPE,
        Sig::QUIT => libc::SIGQUIT,
        Sig::SEGV => libc::SIGSEGV,
        Sig::TERM => libc::SIGTERM,
        Sig::USR1 => libc::SIGUSR1,
        // Names outside the RFC carry the sender's domain, as `SYS@microvm-dev.org` would.
        Sig::Custom(name) => {
            let name = name.split('@').next().unwrap_or_default();
            return format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_numbers() {
        for number in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
            assert_eq!(from_ssh(&to_ssh(number)), Some(number));
        }
        assert_eq!(from_ssh(&Sig::Custom("BUS".into())), Some(libc::SIGBUS));
        assert_eq!(from_ssh(&Sig::Custom("XCPU@example.org".into())), Some(libc::SIGXCPU));
        assert_eq!(from_ssh(&Sig::Custom("NONSENSE".into())), None);
    }
}
