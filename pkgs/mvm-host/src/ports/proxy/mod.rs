//! The proxy: a process of the realm that listens on the host and leads each connection and datagram to a guest.
//!
//! ```text
//!  host's namespace                                         realm's namespace
//!  127.0.0.1:8080, [::1]:8080 ──► mvm internal proxy ──────► guest's address:3000
//!                                   │  ▲
//!  host's name servers  ◄───────────┘  └──────────────────── 127.0.0.1:5301 … 5303 (the DNS relay, user realm)
//! ```
//!
//! It is told over its control socket what to serve ([`protocol`]) and keeps nothing: whoever starts it sets each VM's
//! forwards again. In a user realm one thread is in the realm's network namespace, where it makes sockets; all the
//! relaying is done by one other thread. When both are set up the process has no capability left, or, in the host realm,
//! that of listening on ports below 1024.

pub mod bind;
mod carrier;
pub mod client;
pub mod listener;
mod nameservers;
mod privileges;
pub mod protocol;
pub mod resolver;
mod scratch;
mod server;
mod sessions;
mod sockets;
mod table;
mod tcp;
mod traffic;
mod udp;
mod wildcard;

pub use client::{Added, Client};

use crate::keeper::announce;
use crate::{Error, Result};
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use sockets::GuestSockets;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

/// What the process is to do; its argument, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyConfig {
    /// Where its control socket is to be.
    pub socket: PathBuf,
    /// Bind mount of the network namespace that the guests are in; none if the process is there itself. Entering it
    /// needs `CAP_SYS_ADMIN`.
    #[serde(default)]
    pub guest_namespace: Option<PathBuf>,
    /// The host's resolv.conf. With a `guest_namespace`, its name servers are relayed to ([`resolver`]).
    #[serde(default)]
    pub resolv_conf: Option<PathBuf>,
    /// User and group id to become; none to stay.
    #[serde(default)]
    pub run_as: Option<(u32, u32)>,
    /// Whether it is killed when the thread that started it ends.
    #[serde(default)]
    pub die_with_parent: bool,
}

/// The process: `mvm internal proxy CONFIG`. Says `ready` on its standard output when its socket answers. Ends on
/// SIGTERM.
pub fn main(config: &str) -> Result<()> {
    let config: ProxyConfig =
        serde_json::from_str(config).map_err(|error| Error::Failed(format!("proxy: bad config: {error}")))?;
    let parent = getppid();
    // To stderr, which is the keeper's log.
    let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).try_init();
    raise_file_limit()?;
    let listener = listen(&config.socket)?;
    let guests = GuestSockets::open(config.guest_namespace.as_deref())?;
    // Where the guests are in another namespace, this process' is of another user namespace, where no capability of ours
    // is worth anything.
    let keep = match config.guest_namespace {
        Some(_) => privileges::Keep::Nothing,
        None => privileges::Keep::LowPorts,
    };
    privileges::reduce(config.run_as, keep)?;
    guests.give_up()?;
    if config.die_with_parent {
        // After the change of ids, which cancels it (prctl(2)).
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(Error::system("follow the parent's end"))?;
        if getppid() != parent {
            return Err(Error::Failed("the process that started the proxy has ended".to_owned()));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("start the proxy's runtime"))?;
    let result = LocalSet::new().block_on(&runtime, serve(listener, guests, &config));
    // It may be in a directory that is not ours any more; the next proxy replaces it.
    let _ = std::fs::remove_file(&config.socket);
    result
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    guests: GuestSockets,
    config: &ProxyConfig,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::system("handle SIGTERM"))?;
    let listener = UnixListener::from_std(listener).map_err(Error::io("listen at", &config.socket))?;
    let _resolver = match (&config.guest_namespace, &config.resolv_conf) {
        (Some(_), Some(resolv_conf)) => {
            let resolver = resolver::start(&guests, resolv_conf.clone()).await;
            Some(
                resolver
                    .map_err(Error::system("start the DNS relay on 127.0.0.1 in the guests' namespace"))?,
            )
        }
        _ => None,
    };
    let server = server::Server::new(table::Table::new(guests));
    announce()?;
    tokio::select! {
        () = server.serve(listener) => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Binds under a temporary name, so that the socket's name always leads to a listening one.
fn listen(path: &Path) -> Result<std::os::unix::net::UnixListener> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let _ = std::fs::remove_file(&new);
    let listener = std::os::unix::net::UnixListener::bind(&new).map_err(Error::io("listen at", &new))?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))
        .map_err(Error::io("close to others", &new))?;
    listener.set_nonblocking(true).map_err(Error::io("listen at", &new))?;
    std::fs::rename(&new, path).map_err(Error::io("listen at", path))?;
    Ok(listener)
}

/// As many open files as may be: each forward has one or two, each connection two or more.
fn raise_file_limit() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(Error::system("raise the limit of open files"))
}
