//! Terminals of sessions (RFC 4254 §6.2, §8; tty_ioctl(4)).

use crate::fd::FdStream;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices as Char, Termios,
    tcgetattr, tcsetattr,
};
use russh::Pty;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

nix::ioctl_write_ptr_bad!(
    /// TIOCSWINSZ.
    set_size,
    libc::TIOCSWINSZ,
    Winsize
);

/// A size in characters and pixels, as a client gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a row.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
    /// Width in pixels; 0 if unknown.
    pub width: u32,
    /// Height in pixels; 0 if unknown.
    pub height: u32,
}

impl Size {
    fn winsize(self) -> Winsize {
        let clamp = |size| u16::try_from(size).unwrap_or(u16::MAX);
        Winsize {
            ws_row: clamp(self.rows),
            ws_col: clamp(self.columns),
            ws_xpixel: clamp(self.width),
            ws_ypixel: clamp(self.height),
        }
    }
}

/// A terminal that a client asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Value of TERM.
    pub term: String,
    /// First size.
    pub size: Size,
    /// Terminal modes, as in the request.
    pub modes: Vec<(Pty, u32)>,
}

/// Opens a terminal for a session of user `uid`: the server's end, and the session's.
pub fn open(request: &Request, uid: u32) -> io::Result<(FdStream, OwnedFd)> {
    let OpenptyResult { master, slave } = openpty(&request.size.winsize(), None)?;
    for end in [&master, &slave] {
        nix::fcntl::fcntl(end, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    nix::fcntl::fcntl(
        &master,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_RDWR),
    )?;
    let mut termios = tcgetattr(&slave)?;
    for (mode, value) in &request.modes {
        apply(&mut termios, *mode, *value);
    }
    tcsetattr(&slave, SetArg::TCSANOW, &termios)?;
    if uid != nix::unistd::geteuid().as_raw() {
        std::os::unix::fs::fchown(&slave, Some(uid), None)?;
    }
    Ok((FdStream::new(File::from(master))?, slave))
}

/// Tells the terminal, and through it the foreground processes, a new size.
pub fn resize(terminal: &FdStream, size: Size) {
    let winsize = size.winsize();
    #[expect(unsafe_code, reason = "the descriptor is open and the argument has the layout of the ioctl")]
    let _ = unsafe { set_size(terminal.as_fd().as_raw_fd(), &raw const winsize) };
}

/// Sets one mode. Those that Linux doesn't have, and speeds, which a pseudo-terminal hasn't, are passed over.
fn apply(termios: &mut Termios, mode: Pty, value: u32) {
    let character = match mode {
        Pty::VINTR => Char::VINTR,
        Pty::VQUIT => Char::VQUIT,
        Pty::VERASE => Char::VERASE,
        Pty::VKILL => Char::VKILL,
        Pty::VEOF => Char::VEOF,
        Pty::VEOL => Char::VEOL,
        Pty::VEOL2 => Char::VEOL2,
        Pty::VSTART => Char::VSTART,
        Pty::VSTOP => Char::VSTOP,
        Pty::VSUSP => Char::VSUSP,
        Pty::VREPRINT => Char::VREPRINT,
        Pty::VWERASE => Char::VWERASE,
        Pty::VLNEXT => Char::VLNEXT,
        Pty::VDISCARD => Char::VDISCARD,
        _ => return apply_flag(termios, mode, value != 0),
    };
    // 255 stands for "none" (RFC 4254 §8), for which Linux has 0.
    termios.control_chars[character as usize] =
        u8::try_from(value).ok().filter(|value| *value != 255).unwrap_or(0);
}

fn apply_flag(termios: &mut Termios, mode: Pty, on: bool) {
    let input = match mode {
        Pty::IGNPAR => InputFlags::IGNPAR,
        Pty::PARMRK => InputFlags::PARMRK,
        Pty::INPCK => InputFlags::INPCK,
        Pty::ISTRIP => InputFlags::ISTRIP,
        Pty::INLCR => InputFlags::INLCR,
        Pty::IGNCR => InputFlags::IGNCR,
        Pty::ICRNL => InputFlags::ICRNL,
        Pty::IXON => InputFlags::IXON,
        Pty::IXANY => InputFlags::IXANY,
        Pty::IXOFF => InputFlags::IXOFF,
        Pty::IMAXBEL => InputFlags::IMAXBEL,
        Pty::IUTF8 => InputFlags::IUTF8,
        _ => InputFlags::empty(),
    };
    termios.input_flags.set(input, on);
    let local = match mode {
        Pty::ISIG => LocalFlags::ISIG,
        Pty::ICANON => LocalFlags::ICANON,
        Pty::ECHO => LocalFlags::ECHO,
        Pty::ECHOE => LocalFlags::ECHOE,
        Pty::ECHOK => LocalFlags::ECHOK,
        Pty::ECHONL => LocalFlags::ECHONL,
        Pty::NOFLSH => LocalFlags::NOFLSH,
        Pty::TOSTOP => LocalFlags::TOSTOP,
        Pty::IEXTEN => LocalFlags::IEXTEN,
        Pty::ECHOCTL => LocalFlags::ECHOCTL,
        Pty::ECHOKE => LocalFlags::ECHOKE,
        Pty::PENDIN => LocalFlags::PENDIN,
        _ => LocalFlags::empty(),
    };
    termios.local_flags.set(local, on);
    let output = match mode {
        Pty::OPOST => OutputFlags::OPOST,
        Pty::OLCUC => OutputFlags::OLCUC,
        Pty::ONLCR => OutputFlags::ONLCR,
        Pty::OCRNL => OutputFlags::OCRNL,
        Pty::ONOCR => OutputFlags::ONOCR,
        Pty::ONLRET => OutputFlags::ONLRET,
        _ => OutputFlags::empty(),
    };
    termios.output_flags.set(output, on);
    let control = match mode {
        // Sizes are a field, not a flag, and 7 bits a subset of 8: only switching on means something.
        Pty::CS7 if on => return set_character_size(termios, ControlFlags::CS7),
        Pty::CS8 if on => return set_character_size(termios, ControlFlags::CS8),
        Pty::PARENB => ControlFlags::PARENB,
        Pty::PARODD => ControlFlags::PARODD,
        _ => ControlFlags::empty(),
    };
    termios.control_flags.set(control, on);
}

fn set_character_size(termios: &mut Termios, size: ControlFlags) {
    termios.control_flags.remove(ControlFlags::CSIZE);
    termios.control_flags.insert(size);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn termios() -> Termios {
        tcgetattr(openpty(None, None).unwrap().slave).unwrap()
    }

    #[test]
    fn modes_of_the_client_are_set() {
        let mut termios = termios();
        apply(&mut termios, Pty::VINTR, 7);
        apply(&mut termios, Pty::VSUSP, 255);
        apply(&mut termios, Pty::ECHO, 0);
        apply(&mut termios, Pty::IUTF8, 1);
        apply(&mut termios, Pty::OPOST, 0);
        assert_eq!(termios.control_chars[Char::VINTR as usize], 7);
        assert_eq!(termios.control_chars[Char::VSUSP as usize], 0);
        assert!(!termios.local_flags.contains(LocalFlags::ECHO));
        assert!(termios.input_flags.contains(InputFlags::IUTF8));
        assert!(!termios.output_flags.contains(OutputFlags::OPOST));
    }

    #[test]
    fn eight_bits_stay_when_seven_are_switched_off() {
        let mut termios = termios();
        apply(&mut termios, Pty::CS8, 1);
        apply(&mut termios, Pty::CS7, 0);
        assert_eq!(termios.control_flags & ControlFlags::CSIZE, ControlFlags::CS8);
    }

    #[test]
    fn absurd_sizes_are_clamped() {
        let size = Size { columns: 1 << 20, rows: 24, width: 0, height: 0 };
        assert_eq!((size.winsize().ws_col, size.winsize().ws_row), (u16::MAX, 24));
    }
}
