//! Talking to the keeper.

use crate::keeper::protocol::{Event, FRAME_MAX, Request, RunningVm, Timing};
use crate::net::counters::Denied;
use crate::realm::Realm;
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::workload::ProcessStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

/// A connection to the keeper, for one request.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
}

impl Connection {
    /// Connects to the keeper of `realm`; `None` if none runs.
    pub async fn open(realm: &Realm) -> Result<Option<Self>> {
        match UnixStream::connect(realm.socket()).await {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error) if nobody_listens(&error) => Ok(None),
            Err(error) => Err(Error::io("connect to", realm.socket())(error)),
        }
    }

    /// Sends the request.
    pub async fn send(&mut self, request: &Request) -> Result<()> {
        write_frame(&mut self.stream, request).await.map_err(Error::system("talk to the keeper"))
    }

    /// The next event; `None` if the keeper closed the connection.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        read_frame(&mut self.stream).await.map_err(Error::system("hear the keeper"))
    }

    /// The raw stream, after [`Event::Connected`].
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }
}

/// Writes `value` as a frame.
pub async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    value: &impl Serialize,
) -> std::io::Result<()> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len()).ok().filter(|length| *length <= FRAME_MAX);
    let length = length.ok_or_else(|| std::io::Error::other("frame too long"))?;
    let mut frame = Vec::with_capacity(4 + json.len());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&json);
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// Whether a connection to a Unix socket failed because nobody listens there, or no longer: one that waits to be accepted
/// while its listener ends is reset (`unix_release_sock` in Linux' net/unix/af_unix.c).
pub fn nobody_listens(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset)
}

/// Reads a frame; `None` at a clean end of the stream.
pub async fn read_frame<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> std::io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_be_bytes(length);
    if length > FRAME_MAX {
        return Err(std::io::Error::other(format!(
            "frame of {length} bytes; at most {FRAME_MAX} are allowed"
        )));
    }
    let mut json = vec![0; length as usize];
    stream.read_exact(&mut json).await?;
    Ok(Some(serde_json::from_slice(&json)?))
}

/// What a start reports.
#[derive(Debug)]
pub struct Started {
    /// Whether the VM ran already.
    pub already: bool,
    /// Where the time went.
    pub timings: Vec<Timing>,
    /// What the curious may like to know.
    pub notes: Vec<String>,
    /// Keeps a leased VM alive: when this is dropped, the VM is killed and deleted.
    pub lease: Connection,
}

/// How a stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Whether the VM was stopped already.
    pub already: bool,
    /// Whether the VMM had to be killed.
    pub killed: bool,
}

/// The VMs that run; none if there is no keeper.
pub async fn status(realm: &Realm) -> Result<Vec<RunningVm>> {
    let Some(mut connection) = Connection::open(realm).await? else { return Ok(Vec::new()) };
    match connection.request(&Request::Status, &mut |_| {}).await? {
        Some(Event::Status { vms, .. }) => Ok(vms),
        // The keeper ended just now, and with it the last VM.
        None => Ok(Vec::new()),
        Some(other) => Err(unexpected(&other)),
    }
}

/// How a VM is to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Only for as long as [`Started::lease`] is kept.
    pub lease: bool,
    /// By booting it, even where there is a template.
    pub cold: bool,
}

/// Starts the stored VM `name`, and the keeper if need be; `on_event` hears of steps and warnings.
pub async fn start(
    realm: &Realm,
    name: &VmName,
    How { lease, cold }: How,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Started> {
    let request = Request::Start { name: name.clone(), lease, cold };
    // A keeper may end between our connecting and its reading; a new one takes over then.
    for _ in 0..10 {
        let mut connection = match Connection::open(realm).await? {
            Some(connection) => connection,
            None => {
                crate::keeper::spawn(realm)?;
                continue;
            }
        };
        let mut begun = false;
        let mut on_event = |event: &Event| {
            begun = true;
            on_event(event);
        };
        match connection.request(&request, &mut on_event).await? {
            Some(Event::Started { already, timings, notes }) => {
                return Ok(Started { already, timings, notes, lease: connection });
            }
            Some(other) => return Err(unexpected(&other)),
            // It had begun: no farewell, but a crash, which another would only repeat.
            None if begun => break,
            None => {}
        }
    }
    Err(Error::Failed(format!(
        "the keeper broke off while starting VM `{name}`; {} says why",
        realm.keeper_log().display()
    )))
}

/// Stops VM `name`; one that does not run is already stopped.
pub async fn stop(
    realm: &Realm,
    name: &VmName,
    force: bool,
    timeout: std::time::Duration,
    on_event: &mut dyn FnMut(&Event),
) -> Result<Stopped> {
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Stop { name: name.clone(), force, timeout_ms };
    let Some(mut connection) = Connection::open(realm).await? else {
        return Ok(Stopped { already: true, killed: false });
    };
    match connection.request(&request, on_event).await? {
        Some(Event::Stopped { already, killed }) => Ok(Stopped { already, killed }),
        None => Ok(Stopped { already: true, killed: false }),
        Some(other) => Err(unexpected(&other)),
    }
}

/// What was refused to VM `name` on the network since its start; none if it does not run or has no network.
pub async fn denied(realm: &Realm, name: &VmName) -> Result<Option<Denied>> {
    let Some(mut connection) = Connection::open(realm).await? else { return Ok(None) };
    match connection.request(&Request::Denied { name: name.clone() }, &mut |_| {}).await? {
        Some(Event::Denied { denied }) => Ok(denied),
        None => Ok(None),
        Some(other) => Err(unexpected(&other)),
    }
}

/// How the processes of VM `name`'s workload are; none if it does not run.
pub async fn processes(realm: &Realm, name: &VmName) -> Result<Vec<ProcessStatus>> {
    let Some(mut connection) = Connection::open(realm).await? else { return Ok(Vec::new()) };
    match connection.request(&Request::Processes { name: name.clone() }, &mut |_| {}).await? {
        Some(Event::Processes { processes }) => Ok(processes),
        None => Ok(Vec::new()),
        Some(other) => Err(unexpected(&other)),
    }
}

/// Has VM `name` run its stored workload; whether it runs. One that does not gets it when it starts.
pub async fn apply_workload(realm: &Realm, name: &VmName) -> Result<bool> {
    let Some(mut connection) = Connection::open(realm).await? else { return Ok(false) };
    match connection.request(&Request::ApplyWorkload { name: name.clone() }, &mut |_| {}).await? {
        Some(Event::Applied { running }) => Ok(running),
        None => Ok(false),
        Some(other) => Err(unexpected(&other)),
    }
}

/// Puts the declared VM `name` on the host realm's network; returns what its user should know.
pub async fn attach(realm: &Realm, name: &VmName) -> Result<Vec<String>> {
    match units(realm, &Request::Attach { name: name.clone() }).await? {
        Event::Attached { warnings } => Ok(warnings),
        other => Err(unexpected(&other)),
    }
}

/// Takes the declared VM `name` off the network; without a network it is off already.
pub async fn detach(realm: &Realm, name: &VmName) -> Result<()> {
    if Connection::open(realm).await?.is_none() {
        return Ok(());
    }
    match units(realm, &Request::Detach { name: name.clone() }).await? {
        Event::Detached => Ok(()),
        other => Err(unexpected(&other)),
    }
}

async fn units(realm: &Realm, request: &Request) -> Result<Event> {
    let gone = || {
        Error::Failed(
            "the network of declared VMs is not up; `systemctl start microvm-dev-network.service` starts it"
                .to_owned(),
        )
    };
    let mut connection = Connection::open(realm).await?.ok_or_else(gone)?;
    connection.request(request, &mut |_| {}).await?.ok_or_else(gone)
}

/// A byte stream to the SSH server of the running VM `name`.
pub async fn ssh(realm: &Realm, name: &VmName) -> Result<UnixStream> {
    let not_running = || Error::Failed(format!("VM `{name}` does not run; `mvm start {name}` starts it"));
    let Some(mut connection) = Connection::open(realm).await? else { return Err(not_running()) };
    match connection.request(&Request::Ssh { name: name.clone() }, &mut |_| {}).await? {
        Some(Event::Connected) => Ok(connection.into_stream()),
        None => Err(not_running()),
        Some(other) => Err(unexpected(&other)),
    }
}

fn unexpected(event: &Event) -> Error {
    match event {
        Event::Failed { message, console } if console.is_empty() => Error::Failed(message.clone()),
        Event::Failed { message, console } => Error::Failed(format!(
            "{message}\nlast lines of its console:\n{}",
            console.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
        )),
        other => Error::Failed(format!(
            "the keeper answered {other:?}; is it of another version? stop all VMs and try again"
        )),
    }
}

impl Connection {
    /// Sends `request` and returns its last event; `None` if the keeper closed the connection before.
    async fn request(
        &mut self,
        request: &Request,
        on_event: &mut dyn FnMut(&Event),
    ) -> Result<Option<Event>> {
        if self.send(request).await.is_err() {
            return Ok(None);
        }
        loop {
            match self.next().await {
                Ok(Some(event)) if event.is_last() => return Ok(Some(event)),
                Ok(Some(event)) => on_event(&event),
                Ok(None) => return Ok(None),
                Err(Error::System { source, .. }) if source.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net;

    #[test]
    fn nobody_listens_before_a_listener_is_there_after_it_and_where_it_ends_while_one_waits() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        assert!(nobody_listens(&net::UnixStream::connect(&socket).unwrap_err()));
        let listener = net::UnixListener::bind(&socket).unwrap();
        let waiting = net::UnixStream::connect(&socket).unwrap();
        drop(listener);
        assert!(nobody_listens(&waiting.take_error().unwrap().unwrap()));
        assert!(nobody_listens(&net::UnixStream::connect(&socket).unwrap_err()));
        let other = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        assert!(!nobody_listens(&other));
    }
}
