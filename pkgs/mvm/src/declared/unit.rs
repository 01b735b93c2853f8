//! The units that run declared VMs (`microvm@NAME.service`, of microvm.nix), by systemctl(1): it asks polkit, which has a
//! rule for the group, and, on a terminal, the user for a password.

use anyhow::{Context as _, bail};
use mvm_spec::VmName;
use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// How long the units around a VM may take to end.
const SETTLE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const AGAIN: Duration = Duration::from_millis(50);

/// How far a unit is (systemd(1), `ActiveState`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It runs.
    Active,
    /// It is on its way there.
    Activating,
    /// It is ending.
    Deactivating,
    /// It ended, and not because anybody asked for it.
    Failed,
    /// It does not run.
    #[default]
    Inactive,
}

/// A unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// How far it is.
    pub state: State,
    /// Its main process: the VMM.
    pub pid: Option<i32>,
    /// For how long it has run.
    pub uptime: Option<Duration>,
    /// What its processes take of the host's memory, in bytes.
    pub memory: Option<u64>,
}

/// What to do to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it.
    Start,
    /// Stop it, if it runs, and start it: by one job, in which its parts end before they begin.
    Restart,
    /// Stop it.
    Stop,
    /// Stop it by SIGKILL.
    Kill,
}

/// The unit of VM `name`.
pub fn unit(name: &VmName) -> String {
    format!("microvm@{name}.service")
}

/// The state of VM `name`'s unit.
pub fn status(name: &VmName) -> anyhow::Result<Status> {
    Ok(statuses(std::slice::from_ref(name))?.remove(name).unwrap_or_default())
}

/// The state of several, by one question.
pub fn statuses(names: &[VmName]) -> anyhow::Result<HashMap<VmName, Status>> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let output = Command::new("systemctl")
        .args(["show", "--property=Id,ActiveState,MainPID,ActiveEnterTimestampMonotonic,MemoryCurrent", "--"])
        .args(names.iter().map(unit))
        .stdin(Stdio::null())
        .output()
        .context("can't run systemctl, which knows the declared VMs")?;
    if !output.status.success() {
        bail!(
            "systemctl can't tell about the declared VMs: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let now =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).context("can't read the clock")?;
    Ok(parse(&String::from_utf8_lossy(&output.stdout), Duration::from(now)))
}

/// Reads what `systemctl show` prints: a block of `NAME=VALUE` lines for each unit, and an empty line between them.
fn parse(text: &str, now: Duration) -> HashMap<VmName, Status> {
    let mut found = HashMap::new();
    for block in text.split("\n\n") {
        let values: HashMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
        let value = |name: &str| values.get(name).copied().unwrap_or_default();
        let name = value("Id").strip_prefix("microvm@").and_then(|id| id.strip_suffix(".service"));
        let Some(name) = name.and_then(|name| VmName::new(name).ok()) else { continue };
        let state = match value("ActiveState") {
            "active" | "reloading" | "refreshing" => State::Active,
            "activating" => State::Activating,
            "deactivating" => State::Deactivating,
            "failed" => State::Failed,
            _ => State::Inactive,
        };
        let since = value("ActiveEnterTimestampMonotonic").parse().ok().map(Duration::from_micros);
        let status = Status {
            state,
            pid: value("MainPID").parse().ok().filter(|pid| *pid > 0),
            uptime: since.filter(|_| state == State::Active).and_then(|since| now.checked_sub(since)),
            // Without accounting, or while it does not run, it is no number or the largest there is.
            memory: value("MemoryCurrent").parse().ok().filter(|bytes| *bytes != u64::MAX),
        };
        found.insert(name, status);
    }
    found
}

/// Does it, and returns when it is done.
pub async fn act(action: Action, name: &VmName) -> anyhow::Result<()> {
    let words: &[&str] = match action {
        Action::Start => &["start"],
        Action::Restart => &["restart"],
        Action::Stop => &["stop"],
        Action::Kill => &["kill", "--signal=SIGKILL"],
    };
    let output = tokio::process::Command::new("systemctl")
        .args(words)
        .arg(unit(name))
        .kill_on_drop(true)
        .output()
        .await
        .context("can't run systemctl, which runs the declared VMs")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!(explain(name, words[0], said.trim()))
}

/// Waits until what ends with VM `name` has ended, which systemd does after its unit: a start meanwhile would find the VM's
/// old network, and its old copy of the project.
pub async fn settled(name: &VmName) -> anyhow::Result<()> {
    let around = ["microvm-dev-prepare", "microvm-dev-attach", "microvm-tap-interfaces", "microvm-virtiofsd"];
    let deadline = Instant::now() + SETTLE;
    loop {
        let output = tokio::process::Command::new("systemctl")
            .args(["show", "--property=Job", "--value", "--"])
            .args(around.map(|unit| format!("{unit}@{name}.service")))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("can't run systemctl, which runs the declared VMs")?;
        let jobs = String::from_utf8_lossy(&output.stdout);
        // An empty line, or 0, of one without a job.
        if jobs.lines().all(|job| matches!(job.trim(), "" | "0")) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "VM `{name}` has ended, but not all that belongs to it within {} s; `systemctl list-jobs` shows what",
                SETTLE.as_secs()
            );
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn explain(name: &VmName, verb: &str, said: &str) -> String {
    let denied = ["authentication required", "Access denied", "Permission denied", "not authorized"];
    if denied.iter().any(|words| said.to_lowercase().contains(&words.to_lowercase())) {
        return format!(
            "only root and members of the group `{}` may {verb} VM `{name}`, which this host declares \
             (`services.microvm-dev.users`); systemd said: {said}",
            mvm_gate::GROUP
        );
    }
    format!("systemd could not {verb} VM `{name}`: {said}; `journalctl -u {}` says more", unit(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_prints_is_read() {
        let text = "MainPID=4711\nId=microvm@web.service\nActiveState=active\nActiveEnterTimestampMonotonic=2000000\n\
                    MemoryCurrent=1048576\n\nMainPID=0\nId=microvm@db-1.service\nActiveState=failed\n\
                    ActiveEnterTimestampMonotonic=0\nMemoryCurrent=[not set]\n\nId=other.service\nActiveState=active\n";
        let found = parse(text, Duration::from_secs(12));
        assert_eq!(found.len(), 2);
        let web = found[&VmName::new("web").unwrap()];
        assert_eq!((web.state, web.pid), (State::Active, Some(4711)));
        assert_eq!((web.uptime, web.memory), (Some(Duration::from_secs(10)), Some(1 << 20)));
        let db = found[&VmName::new("db-1").unwrap()];
        assert_eq!(db, Status { state: State::Failed, ..Status::default() });
    }

    #[test]
    fn who_may_not_is_told_whom_to_ask() {
        let name = VmName::new("web").unwrap();
        let said = "Failed to start microvm@web.service: Interactive authentication required.";
        assert!(explain(&name, "start", said).contains("group `microvm-dev`"));
        assert!(explain(&name, "start", "Unit microvm@web.service not found.").contains("journalctl"));
    }
}
