//! How bytes get from one TCP socket to the other: by splice(2) through a pipe, which copies nothing, or through a
//! buffer where no pipe can be had.

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Pipe sizes to try, in bytes: the default of `fs.pipe-max-size`, and less for a user whose pipes are many
/// (`fs.pipe-user-pages-soft`, pipe(7)). Failing these it stays as it was made.
const PIPE_SIZES: [usize; 2] = [1 << 20, 1 << 18];
/// Most bytes that one splice moves.
const SPLICE_MAX: usize = 1 << 20;
/// Size of a buffer, in bytes.
const BUFFER: usize = 64 << 10;
/// Pipes kept for the next connection that has something to say. A connection that is silent has none.
const IDLE_PIPES: usize = 8;

thread_local! {
    static IDLE: RefCell<Vec<(OwnedFd, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// What carries the bytes; empty between a full drain and the next fill.
#[derive(Debug)]
pub enum Carrier {
    /// A pipe: its end to read from, to write to, and how many bytes are in it.
    Pipe { read: OwnedFd, write: OwnedFd, full: usize },
    /// A buffer, and what of it is to be written.
    Buffer { bytes: Vec<u8>, start: usize, end: usize },
}

impl Carrier {
    /// One that is empty.
    pub fn new() -> Self {
        let idle = IDLE.with_borrow_mut(Vec::pop);
        match idle.map_or_else(open, Ok) {
            Ok((read, write)) => Self::Pipe { read, write, full: 0 },
            Err(_) => Self::Buffer { bytes: vec![0; BUFFER], start: 0, end: 0 },
        }
    }

    /// Takes what `from` has; 0 is its end. To be called only when [`Self::is_empty`], so that "would block" is about the
    /// socket and never about the pipe.
    pub fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        match self {
            Self::Pipe { write, full, .. } => {
                let moved = from.try_io(Interest::READABLE, || Ok(move_bytes(from, &*write, SPLICE_MAX)?))?;
                *full += moved;
                Ok(moved)
            }
            Self::Buffer { bytes, start, end } => {
                let read = from.try_read(bytes)?;
                (*start, *end) = (0, read);
                Ok(read)
            }
        }
    }

    /// Gives `to` as much as it takes.
    pub fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        match self {
            Self::Pipe { read, full, .. } => {
                let moved = to.try_io(Interest::WRITABLE, || Ok(move_bytes(&*read, to, *full)?))?;
                *full -= moved;
                Ok(moved)
            }
            Self::Buffer { bytes, start, end } => {
                let written = to.try_write(bytes.get(*start..*end).unwrap_or_default())?;
                *start += written;
                Ok(written)
            }
        }
    }

    /// Whether all is drained.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Pipe { full, .. } => *full == 0,
            Self::Buffer { start, end, .. } => start == end,
        }
    }

    /// Puts it away for another connection.
    pub fn put_away(self) {
        if let Self::Pipe { read, write, full: 0 } = self {
            IDLE.with_borrow_mut(|idle| {
                if idle.len() < IDLE_PIPES {
                    idle.push((read, write));
                }
            });
        }
    }
}

fn open() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    PIPE_SIZES.iter().any(|size| fcntl_setpipe_size(&write, *size).is_ok());
    Ok((read, write))
}

fn move_bytes(
    from: impl std::os::fd::AsFd,
    to: impl std::os::fd::AsFd,
    most: usize,
) -> rustix::io::Result<usize> {
    splice(from, None, to, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}
