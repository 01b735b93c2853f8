//! `mvm-gate`: started by `microvm-dev-gate.socket`.

use anyhow::Context as _;
use clap::Parser;
use mvm_gate::server::{self, Gate};
use mvm_host::realm::{Realm, RealmKind};
use mvm_host::store::DECLARED_DIR;
use std::os::fd::FromRawFd as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Answers members of the group microvm-dev about declared VMs: how to log in, and their port forwards.
///
/// systemd starts it with the listening socket (sd_listen_fds(3)); it ends when nobody has called for a minute. Every call
/// is logged with the caller's user and process id.
#[derive(Parser)]
#[command(version, max_term_width = 100, after_help = "Exit codes: 0 success, 1 failure, 2 wrong usage.")]
struct Cli {
    /// Where VMs are declared.
    #[arg(long, value_name = "DIR", default_value = DECLARED_DIR)]
    declared: PathBuf,
    /// The group whose members may call.
    #[arg(long, value_name = "NAME", default_value = mvm_gate::GROUP)]
    group: String,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mvm-gate: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(Cli { declared, group }: Cli) -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().init();
    let mut sockets = sd_notify::listen_fds().context("can't see what systemd passed")?;
    let (Some(socket), None) = (sockets.next(), sockets.next()) else {
        anyhow::bail!(
            "systemd passed no socket, or several; start microvm-dev-gate.socket, not this program"
        );
    };
    #[expect(
        unsafe_code,
        reason = "systemd passed the descriptor to this process, and nobody else here uses it"
    )]
    let listener = unsafe { std::os::unix::net::UnixListener::from_raw_fd(socket) };
    let group =
        mvm_gate::peer::group(&group).with_context(|| format!("can't look up the group `{group}`"))?;
    let gate = Gate { realm: Realm::resolve(Some(RealmKind::Host))?, declared, group };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        listener.set_nonblocking(true).context("can't use the socket")?;
        let listener = tokio::net::UnixListener::from_std(listener).context("can't use the socket")?;
        server::serve(gate, listener).await.context("the socket failed")
    })
}
