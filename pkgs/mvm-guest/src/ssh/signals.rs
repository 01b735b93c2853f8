//! Signals by their names in SSH (RFC 4254 §6.9, §6.10: without `SIG`).

use nix::sys::signal::Signal;
use russh::Sig;
use std::str::FromStr;

/// The signal a client names; none for one that this system doesn't have.
pub fn from_ssh(name: &Sig) -> Option<Signal> {
    let name = match name {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name.as_str(),
    };
    Signal::from_str(&format!("SIG{name}")).ok()
}

/// The name a client is told.
pub fn to_ssh(signal: Signal) -> Sig {
    match signal {
        Signal::SIGABRT => Sig::ABRT,
        Signal::SIGALRM => Sig::ALRM,
        Signal::SIGFPE => Sig::FPE,
        Signal::SIGHUP => Sig::HUP,
        Signal::SIGILL => Sig::ILL,
        Signal::SIGINT => Sig::INT,
        Signal::SIGKILL => Sig::KILL,
        Signal::SIGPIPE => Sig::PIPE,
        Signal::SIGQUIT => Sig::QUIT,
        Signal::SIGSEGV => Sig::SEGV,
        Signal::SIGTERM => Sig::TERM,
        Signal::SIGUSR1 => Sig::USR1,
        other => Sig::Custom(other.as_str().trim_start_matches("SIG").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_survives_its_name() {
        for signal in Signal::iterator() {
            assert_eq!(from_ssh(&to_ssh(signal)), Some(signal));
        }
        assert_eq!(from_ssh(&Sig::Custom("USR2".to_owned())), Some(Signal::SIGUSR2));
        assert_eq!(from_ssh(&Sig::Custom("NOSUCH".to_owned())), None);
    }
}
