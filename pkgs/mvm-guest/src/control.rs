//! The control stream: frames to and from the host.

use mvm_spec::control::{FRAME_MAX, ToGuest, ToHost};
use std::io;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Writes `message` as a frame.
pub async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), message: &ToHost) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= FRAME_MAX);
    let length = length.ok_or_else(|| io::Error::other("frame too long"))?;
    let mut frame = Vec::with_capacity(4 + json.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&json);
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Reads a frame; `None` at the end of the stream.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<ToGuest>> {
    let length = match stream.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > FRAME_MAX {
        return Err(io::Error::other(format!("frame of {length} bytes; at most {FRAME_MAX} are allowed")));
    }
    let mut json = vec![0; length as usize];
    stream.read_exact(&mut json).await?;
    Ok(Some(serde_json::from_slice(&json)?))
}

/// Where reports to the host are handed in; they are written in order by the task that owns the stream.
#[derive(Clone, Debug)]
pub struct Reporter {
    sender: mpsc::UnboundedSender<ToHost>,
}

impl Reporter {
    /// A reporter, and where its messages come out.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<ToHost>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { sender }, receiver)
    }

    /// Sends `message`; a host that has gone doesn't hear it, which shows elsewhere.
    pub fn send(&self, message: ToHost) {
        let _ = self.sender.send(message);
    }

    /// Tells the host and the console of something that does not stop the guest.
    pub fn warn(&self, message: impl std::fmt::Display) {
        crate::console::say(format_args!("warning: {message}"));
        self.send(ToHost::Warning { message: message.to_string() });
    }

    /// Reports the step `name` as done since `started`.
    pub fn step(&self, name: &str, started: Instant) {
        let took_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.send(ToHost::Step { name: name.to_owned(), took_us });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_the_wire_and_the_end_is_no_error() {
        let (mut host, mut guest) = tokio::io::duplex(1024);
        write_frame(&mut guest, &ToHost::Ready).await.unwrap();
        let length = host.read_u32().await.unwrap();
        let mut json = vec![0; length as usize];
        host.read_exact(&mut json).await.unwrap();
        assert_eq!(serde_json::from_slice::<ToHost>(&json).unwrap(), ToHost::Ready);
        let json = serde_json::to_vec(&ToGuest::PowerOff).unwrap();
        host.write_u32(json.len() as u32).await.unwrap();
        host.write_all(&json).await.unwrap();
        drop(host);
        assert_eq!(read_frame(&mut guest).await.unwrap(), Some(ToGuest::PowerOff));
        assert_eq!(read_frame(&mut guest).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_frame_beyond_the_limit_is_refused_before_it_is_read() {
        let (mut host, mut guest) = tokio::io::duplex(64);
        host.write_u32(FRAME_MAX + 1).await.unwrap();
        assert!(read_frame(&mut guest).await.unwrap_err().to_string().contains("at most"));
    }
}
