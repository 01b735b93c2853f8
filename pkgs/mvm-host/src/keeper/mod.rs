//! The keeper: one process a realm that holds its namespaces and its running VMs, and ends with the last of them.
//!
//! ```text
//! mvm ── spawn ─► keeper's init (process 1 of the realm's process namespace)
//!                   └─ keeper: socket, one task a VM
//!                        ├─ thread in the realm's network namespace: bridge, taps, nft
//!                        ├─ pasta (uplink, user realm)
//!                        └─ for each VM: file server and VMM, each in a sandbox and process namespace of its own
//! ```
//!
//! Whichever of the first two is killed, the kernel ends everything below, and with the last process go the
//! namespaces and all that is in them: mounts, taps, bridge, rules. Nothing has to be cleaned up.

mod child;
mod console;
pub mod leftovers;
mod log_file;
mod logs;
mod machine;
mod mux;
mod names;
mod namespaces;
mod network;
mod ports;
mod prepare;
pub mod protocol;
mod restore;
mod retry;
mod server;
mod trouble;
pub mod units;
mod vm;
mod vmm;
mod warm;

use crate::realm::{Realm, RealmKind};
use crate::sandbox::{limits::FILES_MAX, privileges};
use crate::{Error, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a keeper may take to come up, or an ending one to go.
const KEEPER_DEADLINE: Duration = Duration::from_secs(15);
/// What the keeper prints when its socket answers.
const READY: &str = "ready";
/// Size above which the keeper's log is started anew.
const LOG_MAX: u64 = 1 << 20;

/// Starts the keeper of `realm` and returns when its socket answers; one that answers already is success.
pub fn spawn(realm: &Realm) -> Result<()> {
    realm.create_dirs()?;
    let log_path = realm.keeper_log();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(Error::io("open", &log_path))?;
    let start = log.metadata().map_err(Error::io("examine", &log_path))?.len();
    if start > LOG_MAX {
        log.set_len(0).map_err(Error::io("shorten", &log_path))?;
    }
    let kind = match realm.kind {
        RealmKind::User => "user",
        RealmKind::Host => "host",
    };
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("mvm-keeper")
        .args(["internal", "keeper", kind])
        .env("MVM_STATE_DIR", &realm.state_dir)
        .env("MVM_CACHE_DIR", &realm.cache_dir)
        .env("MVM_RUNTIME_DIR", realm.run_dir.parent().unwrap_or(&realm.run_dir))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut child = command.spawn().map_err(Error::system("start the keeper"))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // Ends at the latest when the keeper does.
        BufReader::new(stdout).read_line(&mut line).map_err(Error::system("hear the keeper"))?;
    }
    // The process we started only sets up namespaces and leaves.
    let _ = child.wait();
    if line.trim_end() == READY {
        return Ok(());
    }
    let text = std::fs::read_to_string(&log_path).unwrap_or_default();
    let since = text.get(usize::try_from(start.min(text.len() as u64)).unwrap_or(0)..).unwrap_or(&text);
    Err(Error::Failed(match since.trim() {
        "" => format!("the keeper did not start; {} says nothing about it", log_path.display()),
        said => format!("the keeper did not start: {}", said.trim_start_matches("mvm: ")),
    }))
}

/// The process: `mvm internal keeper KIND`.
pub fn main(kind: &str) -> Result<()> {
    let kind = if kind == "host" { RealmKind::Host } else { RealmKind::User };
    let realm = Realm::resolve(Some(kind))?;
    let Some(lock) = lock_or_find_other(&realm)? else {
        return announce();
    };
    raise_file_limit();
    // Away from the terminal and its signals. An error means that this process leads a session already.
    let _ = nix::unistd::setsid();
    let host_pid = namespaces::enter(kind)?;
    server::run(realm, host_pid, lock)
}

/// Raises the limit of open files as far as this process may: file servers hold one for each file in a guest's cache,
/// the proxy two for each forward. What can't be raised is said by `mvm doctor`.
fn raise_file_limit() {
    let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    // Only a privileged process may raise the hard limit, and at most to fs.nr_open (getrlimit(2)).
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    let wanted = most.unwrap_or(hard).min(FILES_MAX).max(hard);
    let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted)
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
}

/// Tells [`spawn`] that the socket answers, and lets go of the pipe to it.
pub(crate) fn announce() -> Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{READY}").and_then(|()| stdout.flush()).map_err(Error::system("report readiness"))?;
    let null = OpenOptions::new().write(true).open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
    rustix::stdio::dup2_stdout(&null).map_err(Error::system("let go of stdout"))
}

/// The lock that makes this process the realm's keeper; `None` if another keeper answers.
fn lock_or_find_other(realm: &Realm) -> Result<Option<Flock<File>>> {
    let path = realm.keeper_lock();
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    let deadline = Instant::now() + KEEPER_DEADLINE;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(Error::io("lock", &path)(errno.into())),
        };
        if UnixStream::connect(realm.socket()).is_ok() {
            return Ok(None);
        }
        if Instant::now() > deadline {
            return Err(Error::Failed(format!(
                "another keeper holds {} but does not answer at {}; `mvm doctor` shows its process",
                path.display(),
                realm.socket().display()
            )));
        }
        // The other one is coming up or going; neither can be waited for in another way.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A command whose program keeps this process' capabilities in the realm's user namespace.
pub(crate) fn privileged(mut command: Command) -> Command {
    privileges::keep_capabilities(&mut command);
    command
}
