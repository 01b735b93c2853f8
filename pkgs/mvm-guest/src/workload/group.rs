//! The processes of a command: a session and process group of their own, ended together.

use crate::reaper::{Exit, Reaper};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a group may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a group that was killed.
const KILLED: Duration = Duration::from_secs(1);

/// When all groups must have ended, once that is known: the machine is to be switched off.
#[derive(Clone, Debug, Default)]
pub struct Deadline(Arc<OnceLock<Instant>>);

impl Deadline {
    /// Sets it. The first time counts.
    pub fn set(&self, at: Instant) {
        let _ = self.0.set(at);
    }

    fn or(&self, at: Instant) -> Instant {
        self.0.get().map_or(at, |deadline| at.min(*deadline))
    }
}

/// The groups of one process of the workload that have not ended; clones share them.
#[derive(Clone, Debug)]
pub struct Groups {
    reaper: Reaper,
    deadline: Deadline,
    /// With what their leaders are asked to end by.
    running: Arc<Mutex<BTreeMap<i32, Signal>>>,
}

/// A command that was started.
#[derive(Debug)]
pub struct Running {
    /// Its process id, which is that of its group.
    pub pid: Pid,
    exit: oneshot::Receiver<Exit>,
}

impl Running {
    /// How it ended.
    pub async fn ended(&mut self) -> Exit {
        // Without a sender the reaper is gone, and with it the machine.
        (&mut self.exit).await.unwrap_or(Exit::Code(255))
    }
}

impl Groups {
    /// None yet.
    pub fn new(reaper: Reaper, deadline: Deadline) -> Self {
        Self { reaper, deadline, running: Arc::default() }
    }

    /// Starts `command`, which makes itself the leader of a group, and is asked to end by `stop`.
    pub fn start(&self, command: &mut Command, stop: Signal) -> std::io::Result<Running> {
        let (_, pid, exit) = self.reaper.spawn(command)?;
        self.running().insert(pid.as_raw(), stop);
        Ok(Running { pid, exit })
    }

    /// Ends what is left of the group `pid`: its leader's signal, if it has one of its own, then TERM, then KILL.
    pub async fn end(&self, pid: Pid) {
        let stop = self.running().get(&pid.as_raw()).copied().unwrap_or(Signal::SIGTERM);
        let limit = Instant::now() + GRACE;
        let limit = || self.deadline.or(limit);
        // CONT, since a stopped process does nothing about the other. ESRCH: there is none left.
        if stop != Signal::SIGTERM {
            // To the leader alone: it has its own way to end the others, and what shells start in the background ignores INT
            // and QUIT.
            for signal in [stop, Signal::SIGCONT] {
                let _ = kill(pid, signal);
            }
            gone(|| kill(pid, None), limit).await;
        }
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            let _ = killpg(pid, signal);
        }
        if !gone(|| killpg(pid, None), limit).await {
            let _ = killpg(pid, Signal::SIGKILL);
            let limit = Instant::now() + KILLED;
            gone(|| killpg(pid, None), || limit).await;
        }
        self.running().remove(&pid.as_raw());
    }

    /// Ends them all.
    pub async fn end_all(&self) {
        let all: Vec<i32> = self.running().keys().copied().collect();
        futures::future::join_all(all.into_iter().map(|pid| self.end(Pid::from_raw(pid)))).await;
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<i32, Signal>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until `ask` finds no process, at most until `limit`, which may move. No event tells of the end of a group whose
/// processes are not all our children.
async fn gone(ask: impl Fn() -> nix::Result<()>, limit: impl Fn() -> Instant) -> bool {
    let mut pause = Duration::from_millis(2);
    loop {
        if ask() == Err(Errno::ESRCH) {
            return true;
        }
        let left = limit().saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reaper::Scope;
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::CommandExt;
    use std::process::{ChildStdout, Stdio};

    /// A shell with `script` in a group of its own; returns when it has printed a line.
    fn shell(groups: &Groups, script: &str, stop: Signal) -> (Running, BufReader<ChildStdout>) {
        let mut command = Command::new("sh");
        command.args(["-c", script]).process_group(0).stdout(Stdio::piped());
        let (mut child, pid, exit) = groups.reaper.spawn(&mut command).unwrap();
        groups.running().insert(pid.as_raw(), stop);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut String::new()).unwrap();
        (Running { pid, exit }, output)
    }

    fn groups(deadline: &Deadline) -> Groups {
        Groups::new(Reaper::start(Scope::Own).unwrap(), deadline.clone())
    }

    #[tokio::test]
    async fn a_group_ends_with_all_its_processes() {
        let groups = groups(&Deadline::default());
        let (mut running, mut output) =
            shell(&groups, "sleep 1000 & echo up; kill -STOP $$; wait", Signal::SIGTERM);
        groups.end_all().await;
        assert_eq!(running.ended().await, Exit::Signal { signal: Signal::SIGTERM, core_dumped: false });
        // The end of its output: nobody is left who could write to it.
        assert_eq!(output.read_line(&mut String::new()).unwrap(), 0);
        assert!(groups.running().is_empty());
    }

    #[tokio::test]
    async fn a_group_that_ignores_sigterm_is_killed_when_the_machine_is_to_go() {
        let deadline = Deadline::default();
        let groups = groups(&deadline);
        for stop in [Signal::SIGTERM, Signal::SIGINT] {
            let script = "trap '' TERM INT; echo up; while :; do sleep 1; done";
            let (mut running, _output) = shell(&groups, script, stop);
            // Set while it is being waited for.
            let (_, ()) = tokio::join!(groups.end(running.pid), async { deadline.set(Instant::now()) });
            assert_eq!(running.ended().await, Exit::Signal { signal: Signal::SIGKILL, core_dumped: false });
        }
    }

    #[tokio::test]
    async fn a_leader_with_a_signal_of_its_own_gets_that_and_the_rest_sigterm() {
        let groups = groups(&Deadline::default());
        let script = "trap 'echo int; exit 7' INT; trap 'echo term; exit 8' TERM; sleep 1000 & echo up; wait";
        let (mut running, mut output) = shell(&groups, script, Signal::SIGINT);
        groups.end_all().await;
        assert_eq!(running.ended().await, Exit::Code(7));
        // Both, to the end of the output: the sleeper, which ignores INT, does not hold it open.
        let mut said = String::new();
        output.read_to_string(&mut said).unwrap();
        assert_eq!(said, "int\n");
    }
}
