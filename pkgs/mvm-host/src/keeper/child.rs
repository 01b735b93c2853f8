//! Sandboxed children of the keeper: each the first process of a process namespace of its own.

use crate::sandbox::signal;
use crate::{Error, Result};
use command_fds::{CommandFdExt, FdMapping};
use nix::unistd::Uid;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use tokio::io::unix::AsyncFd;

/// A child that faces a guest.
#[derive(Debug)]
pub struct Child {
    what: &'static str,
    /// Its process id as the host sees it.
    pub host_pid: Option<i32>,
    pidfd: AsyncFd<OwnedFd>,
    user: Uid,
    ended: Option<String>,
}

/// What to start.
pub struct Launch<'a> {
    /// What it is, for messages.
    pub what: &'static str,
    /// Arguments after `mvm internal`.
    pub arguments: [&'a str; 2],
    /// Descriptors it gets, under the numbers it expects them at.
    pub fds: Vec<(i32, OwnedFd)>,
    /// Whom it becomes.
    pub user: Uid,
    /// Where its standard output goes.
    pub stdout: Stdio,
    /// Where its standard error goes.
    pub stderr: File,
}

impl Child {
    /// Starts it.
    pub fn spawn(launch: Launch<'_>) -> Result<Self> {
        let (what, user) = (launch.what, launch.user);
        let mut command = Command::new("/proc/self/exe");
        command
            .arg("internal")
            .args(launch.arguments)
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(launch.stdout)
            .stderr(launch.stderr);
        let mappings =
            launch.fds.into_iter().map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd }).collect();
        command
            .fd_mappings(mappings)
            .map_err(|error| Error::Failed(format!("can't pass descriptors to the {what}: {error}")))?;
        let mut command = super::privileged(command);
        // A thread's children are born into the process namespace it last made; each thread can make one.
        let spawn = move || -> std::io::Result<u32> {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID)?;
            Ok(command.spawn()?.id())
        };
        let id = std::thread::spawn(spawn)
            .join()
            .map_err(|_| Error::Failed(format!("the thread that starts the {what} panicked")))?
            .map_err(Error::system(format!("start the {what}")))?;
        let failed = Error::system(format!("watch the {what}"));
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Error::Failed(format!("the {what} has the process id {id}")))?;
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(failed)?;
        let host_pid = host_pid(&pidfd);
        #[expect(unsafe_code, reason = "the descriptor is owned, and its number does not change")]
        let pidfd =
            unsafe { AsyncFd::register(pidfd) }.map_err(Error::system(format!("watch the {what}")))?;
        Ok(Self { what, host_pid, pidfd, user, ended: None })
    }

    /// Waits until it has ended; says how.
    pub async fn wait(&mut self) -> String {
        loop {
            if let Some(ended) = &self.ended {
                return ended.clone();
            }
            let ready = self.pidfd.readable().await;
            let status = waitid(
                WaitId::PidFd(self.pidfd.get_ref().as_fd()),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            );
            let what = self.what;
            self.ended = match (ready, status) {
                (Ok(_), Ok(Some(status))) => {
                    Some(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => format!("the {what} ended with code {code}"),
                        (_, Some(signal)) => format!("the {what} was killed by signal {signal}"),
                        _ => format!("the {what} ended"),
                    })
                }
                (Ok(mut ready), Ok(None)) => {
                    ready.clear_ready();
                    None
                }
                (Err(error), _) => Some(format!("the {what} can't be watched: {error}")),
                (_, Err(error)) => Some(format!("the {what} is gone: {error}")),
            };
        }
    }

    /// Kills it and waits until it is gone.
    pub async fn kill(&mut self) {
        if self.ended.is_none() {
            // It may have ended just now, which is what is asked for.
            let _ = signal::send(self.pidfd.get_ref(), Signal::KILL, self.user);
            self.wait().await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.ended.is_none() {
            let _ = signal::send(self.pidfd.get_ref(), Signal::KILL, self.user);
        }
    }
}

/// The process id in the process namespace that `/proc` was mounted in: the host's (`Pid:` of a pidfd's fdinfo,
/// proc(5)).
fn host_pid(pidfd: &OwnedFd) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}
