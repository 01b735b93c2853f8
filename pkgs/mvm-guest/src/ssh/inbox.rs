//! Flow control towards the guest: what a client sent and nobody has taken yet.
//!
//! The SSH library grants a client new window as soon as data arrives, not when somebody takes it (RFC 4254 §5.2
//! leaves that to the receiver), and where its own queue is full it stops the whole connection: `cat` with more input
//! than a pipe holds would wait for its output to go, which waits for its input to be taken. So data is queued here
//! without limit, and the client is slowed down instead, in two steps, by [`Backlog`]:
//!
//! - beyond [`HIGH`] it is granted no more than [`TRICKLE`] bytes at a time, so that next to nothing is under way;
//! - beyond [`PAUSE`] the connection is read only every so often, which admits [`TRICKLE`] bytes each time and still
//!   hears what must be heard: that the client took output, resized its window, or closed the channel. While output
//!   flows, that is often enough not to hold it up; a client blocked for an hour adds less than 15 MB.

use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Window of a channel, in bytes. Below what the connection itself takes unread ([`yamux::DEFAULT_CREDIT`]): a client
/// that writes a whole window never blocks in doing so, and goes on reading.
pub const WINDOW: u32 = 192 * 1024;
/// Bytes queued on a connection from which on it is granted next to no window.
const HIGH: usize = 256 * 1024;
/// Bytes queued on a connection from which on it is read only now and then: [`HIGH`] and all window granted before.
const PAUSE: usize = HIGH + 2 * WINDOW as usize;
/// The window granted then, in bytes. Not none: the library grants window only when data arrives.
const TRICKLE: u32 = 1024;
/// Output, in bytes, after which the waits between readings begin anew: the client will want to answer.
const LIVELY: usize = 16 * 1024;
const FIRST_WAIT: Duration = Duration::from_millis(2);
const LONGEST_WAIT: Duration = Duration::from_millis(250);

/// How much of a connection's data nobody has taken yet.
#[derive(Debug, Default)]
pub struct Backlog {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    /// Of the reader that waits for the backlog to shrink.
    waker: Option<Waker>,
}

impl Backlog {
    /// The window to grant next.
    pub fn window(&self) -> u32 {
        if self.state().bytes > HIGH { TRICKLE } else { WINDOW }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes -= bytes;
        if state.bytes <= PAUSE
            && let Some(waker) = state.waker.take()
        {
            waker.wake();
        }
    }
}

/// Data of a client; counts as backlog until it is dropped.
#[derive(Debug)]
pub struct Chunk {
    bytes: Bytes,
    backlog: Arc<Backlog>,
}

impl Chunk {
    /// Wraps `bytes`, adding them to `backlog`.
    pub fn new(bytes: Bytes, backlog: &Arc<Backlog>) -> Self {
        backlog.state().bytes += bytes.len();
        Self { bytes, backlog: Arc::clone(backlog) }
    }
}

impl std::ops::Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.backlog.release(self.bytes.len());
    }
}

/// A connection that is read the more seldom the larger its backlog.
#[derive(Debug)]
pub struct GatedStream<S> {
    inner: S,
    backlog: Arc<Backlog>,
    wait: Option<Pin<Box<Sleep>>>,
    next_wait: Duration,
    /// Whether a wait is over: everything that has arrived is to be read now.
    due: bool,
    /// Bytes written since the last wait.
    written: usize,
}

impl<S> GatedStream<S> {
    /// Gates `inner` by `backlog`.
    pub fn new(inner: S, backlog: Arc<Backlog>) -> Self {
        Self { inner, backlog, wait: None, next_wait: FIRST_WAIT, due: false, written: 0 }
    }

    fn poll_gate(&mut self, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.backlog.state();
            if state.bytes <= PAUSE {
                self.wait = None;
                self.next_wait = FIRST_WAIT;
                return Poll::Ready(());
            }
            if self.due {
                return Poll::Ready(());
            }
            state.waker = Some(context.waker().clone());
        }
        if self.written >= LIVELY {
            self.written = 0;
            self.next_wait = FIRST_WAIT;
            self.wait = None;
        }
        let next = self.next_wait;
        let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(next)));
        ready!(wait.as_mut().poll(context));
        self.wait = None;
        self.next_wait = (next * 2).min(LONGEST_WAIT);
        self.due = true;
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GatedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_gate(context));
            match Pin::new(&mut self.inner).poll_read(context, buffer) {
                // Everything is read; the next wait begins.
                Poll::Pending if self.due => self.due = false,
                result => return result,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GatedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.written += written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn chunk(bytes: usize, backlog: &Arc<Backlog>) -> Chunk {
        Chunk::new(Bytes::from(vec![0; bytes]), backlog)
    }

    #[test]
    fn the_window_shrinks_while_data_waits_and_grows_back() {
        let backlog = Arc::new(Backlog::default());
        assert_eq!(backlog.window(), WINDOW);
        let waiting = chunk(HIGH + 1, &backlog);
        assert_eq!(backlog.window(), TRICKLE);
        drop(waiting);
        assert_eq!((backlog.window(), backlog.state().bytes), (WINDOW, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_backlog_is_still_read_but_seldom() {
        let backlog = Arc::new(Backlog::default());
        let (mut client, server) = tokio::io::duplex(64);
        let mut gated = GatedStream::new(server, Arc::clone(&backlog));
        let _waiting = chunk(PAUSE + 1, &backlog);
        let began = tokio::time::Instant::now();
        for sent in b"abc" {
            let (received, ()) = tokio::join!(gated.read_u8(), async {
                tokio::task::yield_now().await;
                client.write_u8(*sent).await.unwrap();
            });
            assert_eq!(received.unwrap(), *sent);
        }
        // On the paused clock only the gate's own waits pass time.
        assert_eq!(began.elapsed(), FIRST_WAIT * 7);
    }

    #[tokio::test(start_paused = true)]
    async fn output_makes_the_waits_begin_anew() {
        let backlog = Arc::new(Backlog::default());
        let (mut client, server) = tokio::io::duplex(2 * LIVELY);
        let mut gated = GatedStream::new(server, Arc::clone(&backlog));
        let _waiting = chunk(PAUSE + 1, &backlog);
        gated.next_wait = Duration::from_secs(3600);
        gated.write_all(&vec![0; LIVELY]).await.unwrap();
        client.write_u8(1).await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(gated.read_u8().await.unwrap(), 1);
        assert_eq!(began.elapsed(), FIRST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_that_shrinks_ends_the_wait() {
        let backlog = Arc::new(Backlog::default());
        let (mut client, server) = tokio::io::duplex(64);
        let mut gated = GatedStream::new(server, Arc::clone(&backlog));
        client.write_all(b"a").await.unwrap();
        let waiting = chunk(PAUSE + 1, &backlog);
        gated.next_wait = Duration::from_secs(3600);
        let began = tokio::time::Instant::now();
        let reading = tokio::spawn(async move { gated.read_u8().await.unwrap() });
        tokio::task::yield_now().await;
        drop(waiting);
        assert_eq!(reading.await.unwrap(), b'a');
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
