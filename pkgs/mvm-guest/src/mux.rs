//! The streams that the host opens over its one connection.

use futures::future::poll_fn;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode};

/// A stream opened by the host.
pub type Stream = Compat<yamux::Stream>;

/// Most streams at a time. Bounds the guest's memory together with the window of [`yamux::DEFAULT_CREDIT`] a stream.
const STREAMS_MAX: usize = 128;

/// The session's settings: windows that don't grow, because the connection is a copy in memory with next to no delay.
fn config() -> Config {
    let mut config = Config::default();
    config.set_max_num_streams(STREAMS_MAX);
    config.set_max_connection_receive_window(Some(STREAMS_MAX * yamux::DEFAULT_CREDIT as usize));
    config
}

/// The guest's side of the multiplexed connection.
#[derive(Debug)]
pub struct Mux {
    streams: mpsc::UnboundedReceiver<Stream>,
    close: Option<oneshot::Sender<()>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Mux {
    /// Serves the connection `io` on a task of its own.
    pub fn serve<T>(io: T) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, streams) = mpsc::unbounded_channel();
        let (close, mut close_wanted) = oneshot::channel::<()>();
        let mut connection = Connection::new(io.compat(), config(), Mode::Server);
        let driver = tokio::spawn(async move {
            loop {
                tokio::select! {
                    inbound = poll_fn(|context| connection.poll_next_inbound(context)) => match inbound {
                        Some(Ok(stream)) => {
                            if sender.send(stream.compat()).is_err() {
                                break;
                            }
                        }
                        Some(Err(_)) | None => break,
                    },
                    // Also when `Mux` is dropped.
                    _ = &mut close_wanted => {
                        let _ = poll_fn(|context| connection.poll_close(context)).await;
                        break;
                    }
                }
            }
        });
        Self { streams, close: Some(close), driver }
    }

    /// The next stream; `None` when the host has gone.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }

    /// Writes out what is queued and closes the connection.
    pub async fn close(mut self) {
        drop(self.close.take());
        let _ = self.driver.await;
    }
}

/// The first byte of `stream`: its kind.
pub async fn read_kind(stream: &mut Stream) -> io::Result<Option<mvm_spec::control::StreamKind>> {
    Ok(mvm_spec::control::StreamKind::from_byte(stream.read_u8().await?))
}
