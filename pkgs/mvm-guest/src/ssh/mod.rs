//! The guest's SSH server.
//!
//! ```text
//! Server        keys, accounts, environment: one a guest
//!   Connection  the handler of one client (russh)
//!     process   a command or login shell, with pipes or a terminal
//!     command_line   which commands need no shell
//!     forward   a channel to a TCP port or a socket
//!     inbox     what the client sent and nobody has taken yet: flow control
//! ```

mod account;
mod command_line;
mod connection;
mod forward;
mod inbox;
mod process;
mod pty;
mod signals;

pub use account::Account;
pub(crate) use account::environment;
pub(crate) use command_line::is_program;
pub(crate) use process::become_session;

use crate::reaper::Reaper;
use anyhow::Context;
use inbox::{Backlog, GatedStream};
use mvm_spec::control::GuestSsh;
use russh::keys::{PrivateKey, PublicKey};
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// Ciphers offered. Not chacha20-poly1305, which clients would take first and which under emulation is nearly twice as
/// slow as AES; CTR for clients without GCM.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];

/// What a server is made from.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The keys.
    pub keys: &'a GuestSsh,
    /// Who may log in, all with the same keys. The first of a name counts.
    pub accounts: Vec<Account>,
    /// This program, for the SFTP server.
    pub program: PathBuf,
    /// What sessions find.
    pub surroundings: Surroundings,
    /// Who waits for the processes of sessions.
    pub reaper: Reaper,
}

/// What a session finds when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Variables of every session.
    pub environment: BTreeMap<String, String>,
    /// Where commands start: in the first that exists; else at home.
    pub directories: Vec<PathBuf>,
}

/// The SSH server.
#[derive(Debug)]
pub struct Server {
    /// Made for the first client: it takes an emulated guest a twentieth of its start.
    config: OnceLock<Arc<russh::server::Config>>,
    host_key: String,
    /// As they are sent.
    authorized: Vec<Vec<u8>>,
    accounts: Vec<Account>,
    program: PathBuf,
    surroundings: Mutex<Arc<Surroundings>>,
    reaper: Reaper,
}

impl Server {
    /// A server; nothing is served yet. Fails on an authorized key that is not in hexadecimal.
    pub fn new(settings: Settings<'_>) -> anyhow::Result<Self> {
        let Settings { keys, accounts, program, surroundings, reaper } = settings;
        let decode =
            |key| hex::decode(key).with_context(|| format!("the authorized SSH key `{key}` can't be read"));
        let authorized = keys.authorized_keys.iter().map(decode).collect::<anyhow::Result<_>>()?;
        let surroundings = Mutex::new(Arc::new(surroundings));
        let (config, host_key) = (OnceLock::new(), keys.host_key.clone());
        Ok(Self { config, host_key, authorized, accounts, program, surroundings, reaper })
    }

    fn config(&self) -> anyhow::Result<Arc<russh::server::Config>> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let host_key = hex::decode(&self.host_key).context("the SSH host key is not in hexadecimal")?;
        let host_key = PrivateKey::from_bytes(&host_key).context("the SSH host key can't be read")?;
        let config = russh::server::Config {
            server_id: SshId::Standard(concat!("SSH-2.0-mvm-guest_", env!("CARGO_PKG_VERSION")).into()),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            // Only keys are taken, and nobody guesses one: a delay would only cost those with several.
            auth_rejection_time: Duration::ZERO,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![host_key],
            window_size: inbox::WINDOW,
            preferred: Preferred { cipher: Cow::Borrowed(CIPHERS), ..Preferred::DEFAULT },
            inactivity_timeout: None,
            ..Default::default()
        };
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }

    /// Sessions find `surroundings` from now on; those that there are keep theirs.
    pub fn surround(&self, surroundings: Surroundings) {
        *self.surroundings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(surroundings);
    }

    fn surroundings(&self) -> Arc<Surroundings> {
        self.surroundings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves one client to its end.
    pub async fn serve<S>(self: Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let backlog = Arc::new(Backlog::default());
        let stream = GatedStream::new(stream, Arc::clone(&backlog));
        let config = match self.config() {
            Ok(config) => config,
            // The host has read its keys before it sent them.
            Err(error) => return crate::console::say(format_args!("can't serve SSH: {error:#}")),
        };
        // A client that breaks off is its own affair.
        if let Ok(session) =
            russh::server::run_stream(config, stream, connection::Connection::new(self, backlog)).await
        {
            let _ = session.await;
        }
    }

    /// Serves every client that connects to `listener`.
    pub async fn serve_listener(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Keystrokes must not wait for company (Nagle's algorithm, RFC 896).
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(Arc::clone(&self).serve(stream));
                }
                // Out of descriptors, most likely: those connected go on, and free some.
                Err(error) => {
                    crate::console::say(format_args!("can't accept an SSH connection: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    fn authorizes(&self, key: &PublicKey) -> bool {
        // As sent, a key has no comment.
        key.to_bytes().is_ok_and(|key| self.authorized.contains(&key))
    }
}
