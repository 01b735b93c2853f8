//! SIGTERM, SIGHUP and Ctrl-C as a descriptor, for [`super::watch`] to end in order.

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::{pipe, unregister};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// The signals, taken from now on; programs that are started meanwhile get them as usual.
pub struct Signals {
    readable: UnixStream,
    handlers: Vec<SigId>,
}

impl Signals {
    /// Takes SIGTERM, SIGINT and SIGHUP.
    ///
    /// Errors: the system refuses.
    pub fn take() -> io::Result<Self> {
        let (readable, written) = UnixStream::pair()?;
        let mut handlers = Vec::new();
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            handlers.push(pipe::register(signal, written.try_clone()?)?);
        }
        Ok(Self { readable, handlers })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            unregister(handler);
        }
    }
}
