//! QEMU's command channel (QEMU, docs/interop/qmp-spec.rst): lines of JSON, one answer a command, events in between.

use crate::{Error, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};
use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;

/// Longest line, in bytes: a monitor that was taken over must not fill the memory of who listens.
const LINE_MAX: u64 = 1 << 20;

/// A connection that is ready for commands. Whoever drops it only lets go of it: the monitor goes on.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    /// Events that came and were not asked for yet.
    events: Vec<Value>,
}

impl Qmp {
    /// Takes up the conversation on `stream`; returns when the monitor is ready for commands.
    ///
    /// # Errors
    /// The monitor closes the channel, or speaks something else.
    pub async fn negotiate(stream: UnixStream) -> Result<Self> {
        let mut qmp = Self { stream: BufReader::new(stream), events: Vec::new() };
        let greeting = qmp.read().await?;
        if greeting.get("QMP").is_none() {
            return Err(Error::Failed(format!("QEMU greets by {greeting} instead of QMP")));
        }
        qmp.execute("qmp_capabilities", Value::Null).await?;
        Ok(qmp)
    }

    /// Has `command` executed; returns its result.
    ///
    /// # Errors
    /// The monitor refuses it, or closes the channel.
    pub async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = line(command, &arguments);
        let written = self.stream.get_mut().write_all(&line).await;
        written.map_err(Error::system(format!("tell QEMU to {command}")))?;
        self.answer(command).await
    }

    /// Gives the monitor `fd` under `name`, for a command that takes one by name.
    ///
    /// # Errors
    /// As those of [`execute`](Self::execute).
    pub async fn give(&mut self, name: &str, fd: BorrowedFd<'_>) -> Result<()> {
        let line = line("getfd", &json!({"fdname": name}));
        let (stream, fds) = (self.stream.get_ref(), [fd.as_raw_fd()]);
        let send = || {
            let control = [ControlMessage::ScmRights(&fds)];
            let parts = [IoSlice::new(&line)];
            sendmsg::<()>(stream.as_raw_fd(), &parts, &control, MsgFlags::empty(), None)
                .map_err(std::io::Error::from)
        };
        let failed = || Error::system("give QEMU a file");
        let sent = stream.async_io(Interest::WRITABLE, send).await.map_err(failed())?;
        // What did not fit into the first message goes without the descriptor.
        let rest = line.get(sent..).unwrap_or_default();
        self.stream.get_mut().write_all(rest).await.map_err(failed())?;
        self.answer("getfd").await.map(drop)
    }

    /// Waits for an event called `name` that `wanted` accepts, and returns its data. One that came before counts.
    ///
    /// # Errors
    /// The monitor closes the channel.
    pub async fn event(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        loop {
            let is_it = |event: &Value| event["event"] == name && wanted(&event["data"]);
            if let Some(at) = self.events.iter().position(is_it) {
                return Ok(self.events.swap_remove(at)["data"].take());
            }
            let message = self.read().await?;
            self.note(message);
        }
    }

    async fn answer(&mut self, command: &str) -> Result<Value> {
        loop {
            let mut message = self.read().await?;
            if let Some(problem) = message.get("error") {
                let problem = problem["desc"].as_str().unwrap_or("no reason given");
                return Err(Error::Failed(format!("QEMU refuses {command}: {problem}")));
            }
            if let Some(result) = message.get_mut("return") {
                return Ok(result.take());
            }
            self.note(message);
        }
    }

    fn note(&mut self, message: Value) {
        if message.get("event").is_some() {
            self.events.push(message);
        }
    }

    async fn read(&mut self) -> Result<Value> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE_MAX).read_until(b'\n', &mut line).await;
        match read.map_err(Error::system("hear QEMU"))? {
            0 => Err(Error::Failed("QEMU closed its command channel".to_owned())),
            _ => serde_json::from_slice(&line)
                .map_err(|error| Error::Failed(format!("QEMU's command channel carries no JSON: {error}"))),
        }
    }
}

fn line(command: &str, arguments: &Value) -> Vec<u8> {
    let message = match arguments {
        Value::Null => json!({"execute": command}),
        arguments => json!({"execute": command, "arguments": arguments}),
    };
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{ControlMessageOwned, recvmsg};
    use std::io::{IoSliceMut, Read, Write};
    use std::os::fd::{AsFd, FromRawFd, OwnedFd};

    const GREETING: &str = r#"{"QMP": {"version": {}, "capabilities": []}}"#;

    /// A monitor that sends `lines` and then listens; what it heard comes out at the end.
    fn monitor(lines: &[&str]) -> (UnixStream, std::thread::JoinHandle<String>) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let listening = std::thread::spawn(move || {
            let mut theirs = theirs;
            theirs.write_all(text.as_bytes()).unwrap();
            let mut heard = String::new();
            theirs.read_to_string(&mut heard).unwrap();
            heard
        });
        (UnixStream::from_std(ours).unwrap(), listening)
    }

    #[tokio::test]
    async fn answers_are_told_from_events_and_events_are_kept() {
        let (stream, heard) = monitor(&[
            GREETING,
            r#"{"return": {}}"#,
            r#"{"event": "RESUME", "data": {"n": 1}}"#,
            r#"{"return": {"status": "running"}}"#,
            r#"{"event": "RESUME", "data": {"n": 2}}"#,
        ]);
        let mut qmp = Qmp::negotiate(stream).await.unwrap();
        let status = qmp.execute("query-status", json!({})).await.unwrap();
        assert_eq!(status["status"], "running");
        assert_eq!(qmp.event("RESUME", |data| data["n"] == 2).await.unwrap()["n"], 2);
        assert_eq!(qmp.event("RESUME", |_| true).await.unwrap()["n"], 1);
        drop(qmp);
        let heard = heard.join().unwrap();
        assert_eq!(heard.lines().count(), 2, "{heard}");
        assert!(heard.ends_with("\n") && heard.contains(r#""execute":"query-status""#), "{heard}");
    }

    #[tokio::test]
    async fn a_refusal_is_quoted_with_its_command() {
        let refusal = r#"{"error": {"class": "GenericError", "desc": "Bus 'x' not found"}}"#;
        let (stream, _) = monitor(&[GREETING, r#"{"return": {}}"#, refusal]);
        let mut qmp = Qmp::negotiate(stream).await.unwrap();
        let error = qmp.execute("device_add", json!({"bus": "x"})).await.unwrap_err().to_string();
        assert!(error.contains("device_add") && error.contains("Bus 'x' not found"), "{error}");
    }

    #[tokio::test]
    async fn what_is_not_qmp_is_said_so() {
        for (line, says) in [("{}", "instead of QMP"), ("SSH-2.0", "no JSON")] {
            let (stream, _) = monitor(&[line]);
            let error = Qmp::negotiate(stream).await.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert!(Qmp::negotiate(ours).await.unwrap_err().to_string().contains("closed"));
    }

    #[tokio::test]
    async fn a_file_is_given_along_with_its_name() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (&theirs)
            .write_all(format!("{GREETING}\n{{\"return\": {{}}}}\n{{\"return\": {{}}}}\n").as_bytes())
            .unwrap();
        let mut qmp = Qmp::negotiate(UnixStream::from_std(ours).unwrap()).await.unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"state").unwrap();
        qmp.give("saved", file.as_fd()).await.unwrap();

        let mut buffer = [0; 4096];
        let mut space = nix::cmsg_space!([i32; 1]);
        // The negotiation comes first, without a descriptor.
        let mut heard = String::new();
        let mut given = Vec::new();
        while given.is_empty() {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let message =
                recvmsg::<()>(theirs.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty()).unwrap();
            for control in message.cmsgs().unwrap() {
                if let ControlMessageOwned::ScmRights(fds) = control {
                    given.extend(fds);
                }
            }
            let length = message.bytes;
            heard += std::str::from_utf8(&buffer[..length]).unwrap();
        }
        assert!(heard.contains(r#""fdname":"saved""#), "{heard}");
        #[expect(unsafe_code, reason = "the descriptor was just received and is nobody else's")]
        let mut received = std::fs::File::from(unsafe { OwnedFd::from_raw_fd(given[0]) });
        std::io::Seek::rewind(&mut received).unwrap();
        let mut content = String::new();
        received.read_to_string(&mut content).unwrap();
        assert_eq!(content, "state");
    }
}
