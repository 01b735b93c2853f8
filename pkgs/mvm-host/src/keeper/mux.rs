//! Streams to a guest over its one virtio-serial port (see [`mvm_spec::control`]).

use crate::{Error, Result};
use futures::AsyncWriteExt;
use mvm_spec::control::StreamKind;
use std::task::Poll;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

/// Streams at a time. Each may hold 256 KiB before its reader takes them (yamux' initial window).
const STREAMS: usize = 128;
/// Bytes that all streams together may hold unread.
const WINDOW: usize = STREAMS * (256 << 10);

/// A stream to the guest.
pub type GuestStream = Compat<yamux::Stream>;

/// Opens streams to one guest.
#[derive(Clone, Debug)]
pub struct Mux {
    open: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
}

impl Mux {
    /// Takes over the host's end of the port; must be called within a `LocalSet`.
    pub fn start(port: UnixStream) -> Self {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS).set_max_connection_receive_window(Some(WINDOW));
        let connection = yamux::Connection::new(port.compat(), config, yamux::Mode::Client);
        let (open, requests) = mpsc::channel(8);
        tokio::task::spawn_local(drive(connection, requests));
        Self { open }
    }

    /// Opens a stream of `kind`. Does not wait for the guest: what is written waits in its port.
    pub async fn open(&self, kind: StreamKind) -> Result<GuestStream> {
        let gone = || Error::Failed("the guest's control channel is closed".to_owned());
        let (reply, stream) = oneshot::channel();
        self.open.send(reply).await.map_err(|_| gone())?;
        let mut stream = stream.await.map_err(|_| gone())?;
        stream.write_all(&[kind as u8]).await.map_err(Error::system("open a stream to the guest"))?;
        stream.flush().await.map_err(Error::system("open a stream to the guest"))?;
        Ok(stream.compat())
    }
}

/// Moves the session on until the port closes.
async fn drive(
    mut connection: yamux::Connection<Compat<UnixStream>>,
    mut requests: mpsc::Receiver<oneshot::Sender<yamux::Stream>>,
) {
    let mut waiting: Option<oneshot::Sender<yamux::Stream>> = None;
    let mut all_gone = false;
    futures::future::poll_fn(|context| {
        loop {
            if waiting.is_none() && !all_gone {
                match requests.poll_recv(context) {
                    Poll::Ready(Some(request)) => waiting = Some(request),
                    Poll::Ready(None) => all_gone = true,
                    Poll::Pending => {}
                }
            }
            if let Some(request) = waiting.take() {
                match connection.poll_new_outbound(context) {
                    Poll::Ready(Ok(stream)) => {
                        // Who asked may be gone; the stream is reset by its drop.
                        let _ = request.send(stream);
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => waiting = Some(request),
                }
            }
            match connection.poll_next_inbound(context) {
                // The guest opens none by protocol; a stream it opens all the same is reset by its drop.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}
