//! The SSH client: connects to a VM through the keeper, with the VM's own keys, and trusts its pinned host key alone.

pub mod command;
pub mod session;
mod signals;

mod terminal;

pub use signals::Endings;

use crate::context::Context;
use crate::declared;
use anyhow::{Context as _, bail};
use mvm_gate::protocol::Access;
use mvm_host::store::{StoredVm, VmPaths};
use mvm_spec::VmName;
use russh::client::{Config, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Preferred, cipher, kex};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// The key exchanges to offer. The connection never leaves this host, so the cheapest safe one is the best.
const KEX: &[kex::Name] = &[
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];
/// The ciphers to offer: those of the guest, the quickest of them under emulation first.
const CIPHERS: &[cipher::Name] = &[cipher::AES_256_GCM, cipher::AES_128_GCM, cipher::CHACHA20_POLY1305];

/// Bytes that a VM may send to a channel before it hears that they were taken.
const WINDOW: u32 = 2 * 1024 * 1024;

/// As whom to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// The VM's ordinary user.
    User,
    /// root.
    Root,
}

impl Login {
    /// From a `--root` option.
    pub fn from_root(root: bool) -> Self {
        if root { Self::Root } else { Self::User }
    }

    /// The login name, if the VM's ordinary user is `user`.
    fn of(self, user: &str) -> &str {
        match self {
            Self::User => user,
            Self::Root => "root",
        }
    }
}

/// Connects to the running VM `name` and logs in.
pub async fn connect(context: &Context, name: &VmName, login: Login) -> anyhow::Result<Handle<Pinned>> {
    if declared::is_declared(context, name) {
        return connect_declared(context, name, login).await;
    }
    let StoredVm { spec, .. } = context.store.get(name)?;
    let user = login.of(&spec.user.name);
    let begun = Instant::now();
    let stream = mvm_host::client::ssh(&context.realm, name).await?;
    context.progress.took("connection to the VM", begun.elapsed());
    let begun = Instant::now();
    let keys = Keys::stored(&context.store.paths(name))?;
    let handle = log_in(stream, &keys, user, name).await?;
    context.progress.took("SSH key exchange and login", begun.elapsed());
    Ok(handle)
}

/// Connects to the running declared VM `name`, with the keys that the gate gives.
async fn connect_declared(context: &Context, name: &VmName, login: Login) -> anyhow::Result<Handle<Pinned>> {
    let begun = Instant::now();
    let access = declared::access(name).await?;
    let stream = declared::connect(name, &access).await?;
    context.progress.took("connection to the VM", begun.elapsed());
    let begun = Instant::now();
    let handle = log_in(stream, &Keys::given(&access)?, login.of(&access.user), name).await?;
    context.progress.took("SSH key exchange and login", begun.elapsed());
    Ok(handle)
}

/// The two keys of a login.
struct Keys {
    /// The VM's host key.
    pinned: PublicKey,
    /// Where it was found, for messages.
    origin: String,
    /// The user's key.
    user: PrivateKey,
}

impl Keys {
    /// Those of a VM of the realm.
    fn stored(paths: &VmPaths) -> anyhow::Result<Self> {
        let host_key = paths.dir.join("ssh/host_key.pub");
        let text = std::fs::read_to_string(&host_key)
            .with_context(|| format!("can't read the host key {}", host_key.display()))?;
        let pinned = PublicKey::from_openssh(&text)
            .with_context(|| format!("{} is no SSH public key", host_key.display()))?;
        let user_key = paths.user_key();
        let user = russh::keys::load_secret_key(&user_key, None)
            .with_context(|| format!("can't use the key {}", user_key.display()))?;
        Ok(Self { pinned, origin: host_key.display().to_string(), user })
    }

    /// Those that the gate gave.
    fn given(access: &Access) -> anyhow::Result<Self> {
        let pinned = PublicKey::from_openssh(&access.host_key).context("the gate gave no SSH public key")?;
        let user = russh::keys::decode_secret_key(&access.user_key, None)
            .context("the gate gave no SSH private key")?;
        Ok(Self { pinned, origin: "this host's files".to_owned(), user })
    }
}

/// Speaks SSH on `stream` and logs in as `user`.
async fn log_in(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    keys: &Keys,
    user: &str,
    name: &VmName,
) -> anyhow::Result<Handle<Pinned>> {
    let config = Config {
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            cipher: Cow::Borrowed(CIPHERS),
            ..Preferred::DEFAULT
        },
        // Few large packets cost an emulated guest less than many small ones.
        window_size: WINDOW,
        maximum_packet_size: 65_535,
        // What waits here is what a slow reader of our output lets pile up: 16 packets are at most 1 MiB.
        channel_buffer_size: 16,
        ..Config::default()
    };
    let mut handle = russh::client::connect_stream(
        Arc::new(config),
        eager(stream),
        Pinned { key: keys.pinned.clone() },
    )
    .await
    .map_err(|error| match error {
        russh::Error::UnknownKey => anyhow::anyhow!(
            "VM `{name}` showed another host key than the one pinned in {}; whatever answered is not this VM",
            keys.origin
        ),
        error => anyhow::Error::new(error).context(format!("the SSH connection to VM `{name}` failed")),
    })?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(keys.user.clone()), None);
    let answer = handle
        .authenticate_publickey(user, key)
        .await
        .with_context(|| format!("the SSH connection to VM `{name}` failed"))?;
    if !answer.success() {
        bail!("VM `{name}` refused the login of `{user}`; `mvm logs {name}` may say why");
    }
    Ok(handle)
}

/// `stream`, read from even while it is written to.
///
/// russh reads nothing while it waits to write. With two such ends, each would wait for the other to read, once both have
/// much to say. A peer that honours the window sends no more than fits here; of one that does not, no more is taken.
fn eager<S>(stream: S) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut incoming, outgoing) = tokio::io::split(stream);
    let (drained, mut filled) = tokio::io::simplex(2 * WINDOW as usize);
    tokio::spawn(async move {
        // An error ends the stream, which russh notices.
        let _ = tokio::io::copy(&mut incoming, &mut filled).await;
        let _ = filled.shutdown().await;
    });
    tokio::io::join(drained, outgoing)
}

/// Accepts one host key.
pub struct Pinned {
    key: PublicKey,
}

impl russh::client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => key.key_data() == self.key.key_data(),
            PublicKeyOrCertificate::Certificate(_) => false,
        })
    }
}
