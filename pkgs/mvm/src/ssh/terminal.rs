//! The local terminal: its size, its special characters, and raw mode that never outlives the session.

use russh::Pty;
use rustix::termios::{self, OptionalActions, SpecialCodeIndex, Termios};
use std::sync::Mutex;

/// Rows and columns, and pixels where the terminal knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
    /// Width in pixels; 0 if unknown.
    pub width: u32,
    /// Height in pixels; 0 if unknown.
    pub height: u32,
}

/// The size of the terminal at standard output, else at standard input, else 80 by 24.
pub fn size() -> Size {
    let size = termios::tcgetwinsize(rustix::stdio::stdout())
        .or_else(|_| termios::tcgetwinsize(rustix::stdio::stdin()));
    match size {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
            columns: size.ws_col.into(),
            rows: size.ws_row.into(),
            width: size.ws_xpixel.into(),
            height: size.ws_ypixel.into(),
        },
        _ => Size { columns: 80, rows: 24, width: 0, height: 0 },
    }
}

/// The terminal's special characters and modes that a guest's terminal should share (RFC 4254, section 8).
pub fn modes() -> Vec<(Pty, u32)> {
    let Ok(attributes) = termios::tcgetattr(rustix::stdio::stdin()) else { return Vec::new() };
    let codes = &attributes.special_codes;
    let mut modes: Vec<(Pty, u32)> = [
        (Pty::VINTR, SpecialCodeIndex::VINTR),
        (Pty::VQUIT, SpecialCodeIndex::VQUIT),
        (Pty::VERASE, SpecialCodeIndex::VERASE),
        (Pty::VKILL, SpecialCodeIndex::VKILL),
        (Pty::VEOF, SpecialCodeIndex::VEOF),
        (Pty::VSUSP, SpecialCodeIndex::VSUSP),
    ]
    .into_iter()
    .map(|(mode, index)| (mode, u32::from(codes[index])))
    .collect();
    modes.push((Pty::IUTF8, u32::from(attributes.input_modes.contains(termios::InputModes::IUTF8))));
    modes
}

/// The terminal's attributes from before raw mode, for whoever ends the process first.
static COOKED: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode: every key goes to the guest. Ends when this is dropped, or by a panic.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Puts the terminal at standard input into raw mode.
    pub fn enter() -> std::io::Result<Self> {
        let cooked = termios::tcgetattr(rustix::stdio::stdin())?;
        let mut raw = cooked.clone();
        raw.make_raw();
        if let Ok(mut saved) = COOKED.lock() {
            *saved = Some(cooked);
        }
        // A panic's message would otherwise be printed in stairs, and an abort would leave the terminal unusable.
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            next(info);
        }));
        termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Ends raw mode, if it is on.
fn restore() {
    let Ok(mut saved) = COOKED.lock() else { return };
    if let Some(cooked) = saved.take() {
        // Output is waited for, so that what the guest wrote last is shown as it was meant. A terminal that is gone
        // needs no mending.
        let _ = termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &cooked);
    }
}
