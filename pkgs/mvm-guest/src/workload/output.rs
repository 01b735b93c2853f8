//! What processes print, on its way to the host.
//!
//! All of it goes through one queue of bounded length. A host that does not take it holds a process up for [`PATIENCE`];
//! from then on what it prints is lost, until there is room again, and then it is said how much that was.

use mvm_spec::control::LogHeader;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

/// Bytes taken from a process at a time.
const PIECE: usize = 16 << 10;
/// Pieces that wait for the host, at most.
const PIECES: usize = 64;
/// How long a process may be held up.
const PATIENCE: Duration = Duration::from_secs(1);

enum Item {
    Piece { process: Arc<str>, bytes: Vec<u8> },
    End(oneshot::Sender<()>),
}

/// The queue.
#[derive(Debug)]
pub struct Queue {
    sender: mpsc::Sender<Item>,
    receiver: Mutex<Option<mpsc::Receiver<Item>>>,
    sending: Mutex<Option<AbortHandle>>,
}

impl Queue {
    /// An empty queue, which nobody takes from yet.
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::channel(PIECES);
        Self { sender, receiver: Mutex::new(Some(receiver)), sending: Mutex::default() }
    }

    /// Sends what is in the queue, and what comes, on `stream`; a second stream gets nothing.
    pub fn send_on(&self, stream: impl AsyncWrite + Send + Unpin + 'static) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(receiver) = receiver {
            let task = tokio::spawn(async move {
                // A host that has gone shows elsewhere.
                let _ = send(receiver, stream).await;
            });
            *self.sending.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        }
    }

    /// Where process `name` prints.
    pub fn outlet(&self, name: &str) -> Outlet {
        Outlet { process: name.into(), sender: self.sender.clone(), lost: Arc::default() }
    }

    /// Waits until all that is in the queue now is on its way, and closes the stream: what is printed later gets lost, and
    /// so does what the host has not taken within `limit`.
    pub async fn finish(&self, limit: Duration) {
        let (done, is_done) = oneshot::channel();
        let finished = async {
            if self.sender.send(Item::End(done)).await.is_ok() {
                let _ = is_done.await;
            }
        };
        if tokio::time::timeout(limit, finished).await.is_err()
            && let Some(task) = self.sending.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            task.abort();
        }
    }
}

async fn send(mut items: mpsc::Receiver<Item>, mut stream: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    while let Some(item) = items.recv().await {
        match item {
            Item::Piece { process, bytes } => {
                let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
                let mut frame = LogHeader { process: process.to_string(), length }.to_bytes();
                frame.extend_from_slice(&bytes[..usize::from(length)]);
                stream.write_all(&frame).await?;
                if items.is_empty() {
                    stream.flush().await?;
                }
            }
            Item::End(done) => {
                stream.shutdown().await?;
                // Who asked may have lost patience.
                let _ = done.send(());
                break;
            }
        }
    }
    Ok(())
}

/// Where one process prints; clones share what was lost.
#[derive(Clone, Debug)]
pub struct Outlet {
    process: Arc<str>,
    sender: mpsc::Sender<Item>,
    lost: Arc<AtomicU64>,
}

impl Outlet {
    /// Prints what comes from `pipe` until its end.
    pub async fn copy(self, mut pipe: impl AsyncRead + Unpin) {
        loop {
            let mut bytes = Vec::with_capacity(PIECE);
            match pipe.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.print(bytes).await,
            }
        }
    }

    /// Prints a line of the supervisor's.
    pub async fn note(&self, text: &str) {
        self.print(format!("[mvm] {text}\n").into_bytes()).await;
    }

    async fn print(&self, mut bytes: Vec<u8>) {
        let permit = if self.lost.load(Ordering::Relaxed) > 0 {
            self.sender.try_reserve().ok()
        } else {
            tokio::time::timeout(PATIENCE, self.sender.reserve()).await.ok().and_then(Result::ok)
        };
        let Some(permit) = permit else {
            self.lost.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            return;
        };
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let note = format!("\n[mvm] {lost} bytes were lost here: the host did not take them in time\n");
            bytes.splice(0..0, note.into_bytes());
        }
        permit.send(Item::Piece { process: self.process.clone(), bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next piece that the host gets.
    async fn next(host: &mut (impl AsyncRead + Unpin)) -> (String, String) {
        let mut fixed = [0; LogHeader::FIXED];
        host.read_exact(&mut fixed).await.unwrap();
        let (name, length) = LogHeader::lengths(fixed);
        let mut bytes = vec![0; name + length];
        host.read_exact(&mut bytes).await.unwrap();
        let (name, output) = bytes.split_at(name);
        (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(output).into_owned())
    }

    #[tokio::test]
    async fn what_was_printed_before_the_host_listened_is_there() {
        let queue = Queue::new();
        queue.outlet("web").copy(&b"hello\n"[..]).await;
        queue.outlet("db").note("it is up").await;
        let (guest, mut host) = tokio::io::duplex(1 << 20);
        queue.send_on(guest);
        queue.finish(PATIENCE).await;
        assert_eq!(next(&mut host).await, ("web".to_owned(), "hello\n".to_owned()));
        assert_eq!(next(&mut host).await, ("db".to_owned(), "[mvm] it is up\n".to_owned()));
        assert_eq!(host.read(&mut [0]).await.unwrap(), 0, "and no more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_stuck_holds_nobody_up_for_ever_and_is_told_what_it_missed() {
        let queue = Queue::new();
        let outlet = queue.outlet("web");
        let (guest, mut host) = tokio::io::duplex(16);
        queue.send_on(guest);
        // More than the queue and the stream hold: the rest is lost, and this returns.
        for _ in 0..PIECES + 10 {
            outlet.print(vec![b'x'; 100]).await;
        }
        let lost = outlet.lost.load(Ordering::Relaxed);
        assert!(lost >= 800, "{lost}");
        for _ in 0..PIECES {
            assert_eq!(next(&mut host).await.1.len(), 100);
        }
        outlet.note("again").await;
        let said = loop {
            let (_, output) = next(&mut host).await;
            if output.len() != 100 {
                break output;
            }
        };
        assert!(
            said.contains(&format!("{lost} bytes were lost")) && said.ends_with("[mvm] again\n"),
            "{said}"
        );
    }
}
