//! Answers at the gate.

use crate::journal::Reader;
use crate::peer::Peer;
use crate::protocol::{Access, Answer, CALL_MAX, Call};
use anyhow::Context as _;
use mvm_host::client::write_frame;
use mvm_host::realm::Realm;
use mvm_host::store::{Store, StoredVm, declared_names, read_declared};
use mvm_ports::change::{self, Which};
use mvm_ports::list;
use mvm_ports::removal::Removal;
use mvm_ports::serving::Now;
use mvm_spec::VmName;
use mvm_spec::forward::ForwardRequest;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// How long a caller may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many callers are answered at once; others wait.
const CALLERS: usize = 16;
/// How many logs are read at once, by whoever; more are refused.
const READERS: usize = 64;
/// How long nobody may call before the process ends; the socket's unit starts it again.
const IDLE: Duration = Duration::from_secs(60);
/// First port that everybody may listen on.
const UNPRIVILEGED: u16 = 1024;

/// What the gate works with.
#[derive(Debug)]
pub struct Gate {
    /// The host realm.
    pub realm: Realm,
    /// Where VMs are declared.
    pub declared: PathBuf,
    /// Whose members may call, besides root.
    pub group: Option<u32>,
}

/// Serves until nobody has called for a while.
pub async fn serve(gate: Gate, listener: UnixListener) -> std::io::Result<()> {
    let gate = Rc::new(gate);
    let places = Arc::new(Semaphore::new(CALLERS));
    let readers = Arc::new(Semaphore::new(READERS));
    loop {
        let accepted = tokio::time::timeout(IDLE, listener.accept());
        let stream = match accepted.await {
            Ok(Ok((stream, _))) => stream,
            // A caller that left before it was heard, or no descriptors for the moment.
            Ok(Err(error)) => {
                tracing::warn!("accepting a caller: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            Err(_) if places.available_permits() == CALLERS && readers.available_permits() == READERS => {
                return Ok(());
            }
            Err(_) => continue,
        };
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let (gate, readers) = (gate.clone(), readers.clone());
        tokio::task::spawn_local(async move {
            let reader = gate.converse(stream, &readers).await;
            drop(place);
            if let Some(reader) = reader {
                reader.run().await;
            }
        });
    }
}

impl Gate {
    /// Answers one call; who reads a log goes on from there.
    async fn converse(&self, mut stream: UnixStream, readers: &Arc<Semaphore>) -> Option<Reader> {
        // Who before what: nothing a stranger sends is read.
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!("who calls is not known: {error}");
                return None;
            }
        };
        let (uid, pid) = (peer.uid, peer.pid);
        let mut reader = None;
        let answer = if peer.may_enter(self.group) {
            match tokio::time::timeout(PATIENCE, read_call(&mut stream)).await {
                Ok(Ok(call)) => {
                    let mut answer = self.answer(&peer, &call).await.unwrap_or_else(|error| refused(&error));
                    if answer == Answer::Logs {
                        match readers.clone().try_acquire_owned() {
                            Ok(permit) => reader = Some((call.clone(), permit)),
                            Err(_) => {
                                let many =
                                    format!("{READERS} logs are being read; end some `mvm logs --follow`");
                                answer = Answer::Refused { message: many };
                            }
                        }
                    }
                    let (verb, vm) = (call.word(), call.vm());
                    match &answer {
                        Answer::Refused { message } => {
                            tracing::warn!(uid, pid, "{verb} {vm}: refused: {message}")
                        }
                        _ => tracing::info!(uid, pid, "{verb} {vm}: done"),
                    }
                    answer
                }
                Ok(Err(error)) => {
                    tracing::warn!(uid, pid, "no call: {error}");
                    refused(&error)
                }
                Err(_) => {
                    tracing::warn!(uid, pid, "no call within {PATIENCE:?}");
                    return None;
                }
            }
        } else {
            tracing::warn!(uid, pid, "refused: not in group {}", crate::GROUP);
            Answer::Refused {
                message: format!(
                    "only members of the group `{}` may use the VMs that this host declares; user {uid} is not one",
                    crate::GROUP
                ),
            }
        };
        match tokio::time::timeout(PATIENCE, write_frame(&mut stream, &answer)).await {
            Ok(Ok(())) => reader.map(|(call, permit)| Reader::new(call, stream, permit)),
            Ok(Err(error)) => {
                tracing::debug!(uid, pid, "the caller left before the answer: {error}");
                None
            }
            Err(_) => None,
        }
    }

    /// Answers a member's call.
    async fn answer(&self, peer: &Peer, call: &Call) -> anyhow::Result<Answer> {
        let vm = call.vm();
        if !declared_names(&self.declared)?.contains(vm) {
            anyhow::bail!("VM `{vm}` is not declared on this host");
        }
        let store = Store::open(&self.realm.state_dir);
        if !store.contains(vm) {
            // It has not been started yet: what is made for it then, its keys among it, is made now.
            self.realm.create_dirs()?;
            store.declare(read_declared(&self.declared, vm)?)?;
        }
        match call {
            Call::Access { .. } => access(&store, vm).map(Answer::Access),
            Call::Forwards { .. } => {
                let list::Listing { running, forwards } = list::forwards(&self.realm, &store, vm).await?;
                Ok(Answer::Forwards { running, forwards })
            }
            Call::Add { forwards, .. } => {
                let requests = parse::<ForwardRequest>(forwards)?;
                if peer.uid != 0
                    && let Some(request) =
                        requests.iter().find(|request| (1..UNPRIVILEGED).contains(&request.host))
                {
                    anyhow::bail!(
                        "port {} of the host is privileged: only root may forward it; take one from {UNPRIVILEGED} on, or \
                         declare it: `services.microvm-dev.vms.{vm}.forwardPorts`",
                        request.host
                    );
                }
                let change::Added { new, already, now } =
                    change::add(&self.realm, &store, vm, &requests).await?;
                Ok(Answer::Added { running: now == Now::Served, new, already })
            }
            Call::Remove { forwards, .. } => {
                let which = match forwards {
                    Some(forwards) => Which::These(parse::<Removal>(forwards)?),
                    None => Which::All,
                };
                let removed = change::remove(&self.realm, &store, vm, &which).await;
                let change::Removed { removed, absent, now } = removed.map_err(|error| match error {
                    mvm_ports::Error::Declared { vm, forward } => anyhow::anyhow!(
                        "{forward} of VM {vm} is declared: change `services.microvm-dev.vms.{vm}.forwardPorts` in this \
                         host's NixOS configuration"
                    ),
                    error => error.into(),
                })?;
                let absent = absent.iter().map(ToString::to_string).collect();
                Ok(Answer::Removed { running: now == Now::Served, removed, absent })
            }
            Call::Logs { .. } => {
                mvm_host::net::spawn::find("journalctl").context("there is no program `journalctl`")?;
                Ok(Answer::Logs)
            }
            Call::Denied { .. } => {
                Ok(Answer::Denied { denied: mvm_host::client::denied(&self.realm, vm).await? })
            }
        }
    }
}

fn access(store: &Store, vm: &VmName) -> anyhow::Result<Access> {
    let StoredVm { spec, .. } = store.get(vm)?;
    let Some(network) = spec.network else {
        anyhow::bail!(
            "VM `{vm}` has no network, and so no way in; `journalctl -u microvm@{vm}` shows its console"
        );
    };
    let paths = store.paths(vm);
    let read = |path: PathBuf| std::fs::read_to_string(&path).map_err(mvm_host::Error::io("read", &path));
    Ok(Access {
        address: network.address.address,
        user: spec.user.name,
        host_key: read(paths.host_key().with_extension("pub"))?,
        user_key: read(paths.user_key())?,
    })
}

fn parse<T: std::str::FromStr>(texts: &[String]) -> anyhow::Result<Vec<T>>
where
    T::Err: std::fmt::Display,
{
    texts
        .iter()
        .map(|text| text.parse().map_err(|error: T::Err| anyhow::anyhow!("`{text}`: {error}")))
        .collect()
}

fn refused(error: &anyhow::Error) -> Answer {
    Answer::Refused { message: format!("{error:#}") }
}

/// Reads a call. A length that no call has is refused before anything of it is read.
async fn read_call(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Call> {
    let length = stream.read_u32().await?;
    anyhow::ensure!(length <= CALL_MAX, "a call of {length} bytes; at most {CALL_MAX} are allowed");
    let mut bytes = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> anyhow::Result<Call> {
        let mut bytes = bytes;
        read_call(&mut bytes).await
    }

    fn framed(json: &str) -> Vec<u8> {
        [&u32::try_from(json.len()).unwrap().to_be_bytes()[..], json.as_bytes()].concat()
    }

    #[tokio::test]
    async fn calls_are_read_and_what_is_none_is_refused() {
        let call = read(&framed(r#"{"add": {"vm": "web", "forwards": ["8080:80"]}}"#)).await.unwrap();
        assert_eq!((call.word(), call.vm().as_str()), ("add", "web"));
        for (bytes, said) in [
            (framed(r#"{"delete": {"vm": "web"}}"#), "unknown variant"),
            (framed(r#"{"access": {"vm": "../web"}}"#), "VM name"),
            (framed(r#"{"access": {"vm": "web", "as": "root"}}"#), "unknown field"),
            (vec![0xff; 100], "at most"),
            (framed("{}")[..5].to_vec(), "eof"),
        ] {
            let error = read(&bytes).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_a_call_or_an_error(bytes: Vec<u8>, json in ".{0,200}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&bytes));
            let _ = runtime.block_on(read(&framed(&json)));
        }
    }
}
