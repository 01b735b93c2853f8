//! A running dnsmasq: started in its sandbox, watched, told, ended.

use super::layout::Layout;
use super::{DOMAIN, GATEWAY, config, query};
use crate::dnsmasq_process::{DnsmasqConfig, Role};
use crate::net::spawn;
use crate::sandbox::{privileges, signal};
use crate::{Error, Result};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid, User};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long dnsmasq may take to answer, or to see a change. It takes some 20 ms; a host busy with emulation may need
/// far longer.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Pause before asking again.
pub const PAUSE: Duration = Duration::from_millis(5);
/// How long to wait for a killed process to end, in milliseconds.
const LAST_MOMENTS: u16 = 2000;

/// The program that becomes dnsmasq, and its arguments before the configuration: `mvm internal dnsmasq`.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<OsString>,
}

impl Default for Launcher {
    fn default() -> Self {
        Self { program: "/proc/self/exe".into(), arguments: vec!["internal".into(), "dnsmasq".into()] }
    }
}

/// What to start.
pub(super) struct InstancePlan<'a> {
    /// What does not work without it, for messages.
    pub lost: String,
    /// Its directory.
    pub layout: &'a Layout,
    /// Its configuration file.
    pub conf: String,
    /// What it does.
    pub role: Role,
    /// Names of VMs.
    pub hosts: PathBuf,
    /// Where it answers.
    pub server: SocketAddr,
}

/// A process that answers. Dropping it ends it, at once, and waits until it is gone.
#[derive(Debug)]
pub(super) struct Instance {
    lost: String,
    pid: u32,
    pidfd: Arc<OwnedFd>,
    user: Uid,
    ended: watch::Receiver<Option<String>>,
}

impl Instance {
    /// Starts it and returns when it answers. Call it on a runtime whose thread is in the instance's network namespace.
    pub async fn start(plan: InstancePlan<'_>, launcher: &Launcher) -> Result<Self> {
        let InstancePlan { lost, layout, conf, role, hosts, server } = plan;
        let program = find(&lost)?;
        if role == Role::Resolver {
            check_nftset(&lost, &program).await?;
        }
        let (uid, gid) = service_user();
        layout.hand_over(uid)?;
        layout.put(&layout.conf().join(config::CONF_FILE), &conf)?;
        let config = DnsmasqConfig {
            program,
            conf: layout.conf(),
            run: layout.run(),
            hosts,
            role,
            uid: uid.as_raw(),
            gid: gid.as_raw(),
        };
        let mut child = spawn(launcher, &config)?;
        let failed = Error::system("watch `dnsmasq`");
        let pid = child.id().unwrap_or_default();
        let pidfd = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()))
            .map_err(failed)?;
        let log = tokio::spawn(last_lines(child.stderr.take()));
        let (sender, ended) = watch::channel(None);
        tokio::spawn(async move { sender.send_replace(Some(how_it_ended(child, log).await)) });
        let instance = Self { lost, pid, pidfd: Arc::new(pidfd), user: uid, ended };
        instance.ready(server).await?;
        Ok(instance)
    }

    /// Waits until it has ended; says why.
    pub async fn wait(&self) -> Error {
        let mut ended = self.ended.clone();
        let how = match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "`dnsmasq` is not watched any more".to_owned(),
        };
        Error::Failed(format!("{}: {how}", self.lost))
    }

    /// Tells it to read its files again and to forget what it knows from upstream (SIGHUP); none left to tell is
    /// success.
    pub fn reload(&self) -> Result<()> {
        tell(&self.pidfd, self.user)
    }

    /// What [`Instance::reload`] does, for a task of its own.
    pub fn reloader(&self) -> impl Fn() -> Result<()> + Send + use<> {
        let (pidfd, user) = (self.pidfd.clone(), self.user);
        move || tell(&pidfd, user)
    }

    /// Its process id, as its parent sees it; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.ended.borrow().is_none().then_some(self.pid)
    }

    /// Waits for `done`, which asks again and again, for as long as the instance runs; `what` is what it waits for.
    pub async fn within_deadline(&self, what: &str, done: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            biased;
            error = self.wait() => Err(error),
            done = tokio::time::timeout(DEADLINE, done) => done.unwrap_or_else(|_| {
                Err(Error::Failed(format!(
                    "{}: `dnsmasq` (process {}) did not {what} within {} s",
                    self.lost, self.pid, DEADLINE.as_secs()
                )))
            }),
        }
    }

    async fn ready(&self, server: SocketAddr) -> Result<()> {
        let name = format!("{GATEWAY}.{DOMAIN}");
        let answers = async {
            // Somebody else at that address would not know the name.
            while !query::ask(server, &name).await.is_some_and(|answer| answer.leads_to(server.ip())) {
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        };
        self.within_deadline("answer", answers).await
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // It may have ended just now, which is what is asked for.
        let _ = signal::send(&*self.pidfd, Signal::KILL, self.user);
        // Its ports are free when it has ended (pidfd_open(2)), for one that is started next.
        let _ = poll(&mut [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)], LAST_MOMENTS);
    }
}

fn tell(pidfd: &OwnedFd, user: Uid) -> Result<()> {
    match signal::send(pidfd, Signal::HUP, user) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::system("signal `dnsmasq`")(errno)),
    }
}

/// The real path of dnsmasq: the view may lack the links that lead to it.
fn find(lost: &str) -> Result<PathBuf> {
    let program = spawn::find("dnsmasq").ok_or_else(|| {
        Error::Failed(format!(
            "{lost}: `dnsmasq` is not installed; install the package `dnsmasq-base` and start the VM again"
        ))
    })?;
    program.canonicalize().map_err(Error::io("find", &program))
}

async fn check_nftset(lost: &str, program: &Path) -> Result<()> {
    let output = tokio::process::Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(Error::io("run", program))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if has_nftset(&text) {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "{lost}: {} was built without nftset, which allow-lists of names need ({}); install dnsmasq 2.87 or later built \
         with HAVE_NFTSET, as Debian's `dnsmasq-base` is",
        program.display(),
        text.lines().next().unwrap_or("it does not say its version")
    )))
}

/// Whether the output of `dnsmasq --version` lists the option; one that is left out is listed as `no-nftset`.
fn has_nftset(version: &str) -> bool {
    version.split_whitespace().any(|word| word == "nftset")
}

/// Whom dnsmasq runs as: started by root the system's user for it, or `nobody`, if this namespace has them; otherwise
/// who started it.
fn service_user() -> (Uid, Gid) {
    let own = (Uid::effective(), Gid::effective());
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    if !own.0.is_root() || read("/proc/self/setgroups").trim() == "deny" {
        return own;
    }
    let (uids, gids) = (read("/proc/self/uid_map"), read("/proc/self/gid_map"));
    ["dnsmasq", "nobody"]
        .into_iter()
        .filter_map(|name| User::from_name(name).ok().flatten())
        .find(|user| maps(&uids, user.uid.as_raw()) && maps(&gids, user.gid.as_raw()))
        .map_or(own, |user| (user.uid, user.gid))
}

/// Whether a map of ids (user_namespaces(7)) has `id` inside.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&id.into()))
    })
}

fn spawn(launcher: &Launcher, config: &DnsmasqConfig) -> Result<Child> {
    let text = serde_json::to_string(config)
        .map_err(|error| Error::Failed(format!("can't write dnsmasq's configuration: {error}")))?;
    let mut command = std::process::Command::new(&launcher.program);
    command
        .args(&launcher.arguments)
        .arg(text)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    privileges::keep_capabilities(&mut command);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let runtime = Handle::current();
    // A thread's children are born into the process namespace it last made; each thread can make one. It is in this
    // thread's network namespace.
    let spawn = move || -> std::io::Result<Child> {
        let _runtime = runtime.enter();
        unshare(CloneFlags::CLONE_NEWPID)?;
        command.spawn()
    };
    std::thread::spawn(spawn)
        .join()
        .map_err(|_| Error::Failed("the thread that starts `dnsmasq` panicked".to_owned()))?
        .map_err(Error::system("start the sandbox of `dnsmasq`"))
}

async fn how_it_ended(mut child: Child, log: JoinHandle<Vec<String>>) -> String {
    let status = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
    let log = tokio::time::timeout(Duration::from_secs(1), log).await;
    let log = log.ok().and_then(std::result::Result::ok).unwrap_or_default().join("; ");
    let advice = if log.contains("Address already in use") {
        "; another name or DHCP server listens on that address (`ss -lntup` shows it): stop it, or keep it from the \
         bridge (dnsmasq: `except-interface`, unbound and bind: `interface` and `listen-on`)"
    } else {
        ""
    };
    format!("`dnsmasq` ended ({status}): {log}{advice}")
}

/// The last lines that it wrote, once it has closed its standard error.
async fn last_lines(stderr: Option<ChildStderr>) -> Vec<String> {
    let mut last = Vec::new();
    let Some(stderr) = stderr else { return last };
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        tracing::debug!("{line}");
        if last.len() >= 5 {
            last.remove(0);
        }
        last.push(line);
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn support_for_nft_sets_is_told_from_its_absence() {
        assert!(has_nftset("Dnsmasq version 2.90\nCompile time options: IPv6 ipset nftset auth"));
        assert!(!has_nftset("Dnsmasq version 2.86\nCompile time options: IPv6 ipset auth"));
        assert!(!has_nftset("Dnsmasq version 2.90\nCompile time options: IPv6 no-ipset no-nftset auth"));
    }

    #[test]
    fn ids_are_found_in_a_map() {
        let map = "         0       1000          1\n     65534     165534          1\n";
        assert!(maps(map, 0) && maps(map, 65534));
        assert!(!maps(map, 1) && !maps(map, 999) && !maps("", 0));
        assert!(maps("0 0 4294967295\n", 999));
    }
}
