//! VMs that this host's configuration declares: systemd runs them, and whoever is in the group `microvm-dev` may use them.
//!
//! What a verb does to one of `mvm create`'s by the realm's keeper, it does to a declared one by its unit ([`unit`]) and
//! by the gate ([`mvm_gate`]). A VM of the caller's own realm goes before a declared one of the same name.

pub mod unit;

use crate::context::Context;
use anyhow::bail;
use mvm_gate::protocol::{Access, Answer, Call};
use mvm_host::store::{DECLARED_DIR, declared_names, read_declared};
use mvm_spec::latest::Guest;
use mvm_spec::{VmName, VmSpec};
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

/// How long a declared VM may take from the start of its unit to an answer of its SSH server.
const BOOT: Duration = Duration::from_secs(180);
/// Pause between two tries to connect.
const AGAIN: Duration = Duration::from_millis(200);

/// All declared VMs, by name; those that can't be read with the reason. None on a host that declares nothing.
pub fn all() -> anyhow::Result<Vec<(VmName, mvm_host::Result<VmSpec>)>> {
    let dir = Path::new(DECLARED_DIR);
    let names = declared_names(dir)?;
    Ok(names.into_iter().map(|name| (name.clone(), read_declared(dir, &name))).collect())
}

/// Whether VM `name` is a declared one, and none of the caller's realm.
pub fn is_declared(context: &Context, name: &VmName) -> bool {
    let own = || match context.store.get(name) {
        Ok(vm) => matches!(vm.spec.guest, Guest::Embedded { .. }),
        // A damaged one is the caller's still.
        Err(_) => context.store.contains(name),
    };
    // The store first: it is there more often.
    !own() && Path::new(DECLARED_DIR).join(format!("{name}.json")).exists()
}

/// The spec of VM `name` as declared.
pub fn spec(name: &VmName) -> anyhow::Result<VmSpec> {
    Ok(read_declared(Path::new(DECLARED_DIR), name)?)
}

/// Where commands start in VM `name`, if it is a declared one with a project: its SSH server knows nothing of it.
pub fn start_dir(context: &Context, name: &VmName) -> anyhow::Result<Option<&'static OsStr>> {
    let project = is_declared(context, name) && spec(name)?.project.is_some();
    Ok(project.then(|| OsStr::new("/project")))
}

/// Where to change a declared VM, for messages.
pub fn place(name: &VmName) -> String {
    format!("`services.microvm-dev.vms.{name}` in this host's NixOS configuration")
}

/// Whether the caller may use declared VMs: those who may write to the gate's socket may.
pub fn may_use() -> bool {
    nix::unistd::access(mvm_gate::SOCKET, nix::unistd::AccessFlags::W_OK).is_ok()
}

/// Asks the gate.
pub async fn ask(call: &Call) -> anyhow::Result<Answer> {
    Ok(mvm_gate::client::ask(Path::new(mvm_gate::SOCKET), call).await?)
}

/// As [`ask`], with the stream, on which text follows some answers.
pub async fn open(call: &Call) -> anyhow::Result<(Answer, UnixStream)> {
    Ok(mvm_gate::client::open(Path::new(mvm_gate::SOCKET), call).await?)
}

/// How to log in to VM `name`.
pub async fn access(name: &VmName) -> anyhow::Result<Access> {
    match ask(&Call::Access { vm: name.clone() }).await? {
        Answer::Access(access) => Ok(access),
        other => bail!(unexpected(&other)),
    }
}

/// What to say of an answer to another question.
pub fn unexpected(answer: &Answer) -> String {
    format!(
        "the gate answered {answer:?}; is it of another version? `systemctl restart microvm-dev-gate` may mend it"
    )
}

/// A connection to the SSH server at `access` of VM `name`, which runs.
pub async fn connect(name: &VmName, access: &Access) -> anyhow::Result<TcpStream> {
    let to = SocketAddr::from((access.address, 22));
    match TcpStream::connect(to).await {
        Ok(stream) => {
            // Keystrokes, one by one.
            stream.set_nodelay(true)?;
            Ok(stream)
        }
        Err(error) => match unit::status(name)?.state {
            unit::State::Active => {
                bail!("VM `{name}` does not answer at {to}: {error}; `mvm logs {name}` shows its console")
            }
            _ => bail!("VM `{name}` does not run; `mvm start {name}` starts it"),
        },
    }
}

/// Starts VM `name` and returns when its SSH server answers; whether it ran already.
pub async fn start(context: &Context, name: &VmName) -> anyhow::Result<bool> {
    let already = unit::status(name)?.state == unit::State::Active;
    bring_up(context, name, (!already).then_some(unit::Action::Start)).await?;
    Ok(already)
}

/// Restarts VM `name` with all that surrounds it, or starts it, and returns when its SSH server answers.
pub async fn restart(context: &Context, name: &VmName) -> anyhow::Result<()> {
    bring_up(context, name, Some(unit::Action::Restart)).await
}

async fn bring_up(context: &Context, name: &VmName, action: Option<unit::Action>) -> anyhow::Result<()> {
    let spec = spec(name)?;
    let progress = &context.progress;
    progress.step(&format!("starting {name}"));
    let started = async {
        if let Some(action) = action {
            unit::act(action, name).await?;
        }
        if let Some(network) = &spec.network {
            progress.step(&format!("booting {name}"));
            answers(name, SocketAddr::from((network.address.address, 22))).await?;
        }
        anyhow::Ok(())
    };
    let started = progress.during(started).await;
    progress.done();
    started
}

async fn answers(name: &VmName, to: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + BOOT;
    loop {
        match tokio::time::timeout(BOOT, TcpStream::connect(to)).await {
            Ok(Ok(_)) => return Ok(()),
            _ if Instant::now() > deadline => bail!(
                "VM `{name}` runs, but its SSH server did not answer at {to} within {} s; `mvm logs {name}` shows its console",
                BOOT.as_secs()
            ),
            _ => {}
        }
        if !matches!(unit::status(name)?.state, unit::State::Active | unit::State::Activating) {
            bail!("VM `{name}` ended while it booted; `mvm logs {name}` shows its console");
        }
        tokio::time::sleep(AGAIN).await;
    }
}
