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
use russh::keys::ssh_key::HashAlg;
use russh::keys::{PrivateKey, PublicKey};
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Private host key, in OpenSSH's format.
    pub host_key: &'a str,
    /// Public keys that may log in, in OpenSSH's format.
    pub authorized_keys: &'a [String],
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
    config: Arc<russh::server::Config>,
    authorized: Vec<PublicKey>,
    accounts: Vec<Account>,
    program: PathBuf,
    surroundings: Mutex<Arc<Surroundings>>,
    reaper: Reaper,
}

impl Server {
    /// A server; nothing is served yet. Fails on a key that can't be read.
    pub fn new(settings: Settings<'_>) -> anyhow::Result<Self> {
        let Settings { host_key, authorized_keys, accounts, program, surroundings, reaper } = settings;
        let host_key = PrivateKey::from_openssh(host_key).context("the SSH host key can't be read")?;
        let authorized = authorized_keys
            .iter()
            .map(|key| {
                PublicKey::from_openssh(key)
                    .with_context(|| format!("the authorized SSH key `{key}` can't be read"))
            })
            .collect::<anyhow::Result<_>>()?;
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
        let surroundings = Mutex::new(Arc::new(surroundings));
        Ok(Self { config: Arc::new(config), authorized, accounts, program, surroundings, reaper })
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
        let config = Arc::clone(&self.config);
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
        // Comments don't matter, so that whole keys can't be compared.
        self.authorized
            .iter()
            .any(|authorized| authorized.fingerprint(HashAlg::Sha256) == key.fingerprint(HashAlg::Sha256))
    }
}
