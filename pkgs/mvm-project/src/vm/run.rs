//! Makes, changes and starts VMs as planned.

use super::asked::{called, told};
use super::{Change, Host, Mvm, Taken, VmStatus, reconcile, status};
use crate::plan::{self, Plan};
use anyhow::{Context as _, bail};
use mvm_spec::workload::{ProcessPhase, ProcessStatus, Workload};
use std::time::{Duration, Instant};

/// How long to wait for processes before it is said that they are not ready yet.
const PROCESSES_PATIENCE: Duration = Duration::from_secs(90);

/// What brings VMs up.
pub struct Up<'a> {
    /// `mvm`.
    pub mvm: &'a dyn Mvm,
    /// The host.
    pub host: &'a dyn Host,
}

impl Up<'_> {
    /// What has to change for a plan's VM; nothing yet does.
    ///
    /// Errors: the project's processes make no workload, the VM is another project's, `mvm` fails.
    pub fn changes(&self, plan: &Plan) -> anyhow::Result<Vec<Change>> {
        let name = &plan.name;
        let workload = workload(plan, self.host)?;
        let status = status(self.mvm, name, None)?;
        if let Some(other) = status.as_ref().and_then(|status| status.other_project(&plan.project)) {
            bail!(
                "VM {name} works on {other}, not on {}; give another name: mvm-devenv {} {name}-2",
                plan.project.display(),
                crate::quote::shell(&plan.project.to_string_lossy())
            );
        }
        let there = match &status {
            Some(_) => stored(self.mvm, plan)?,
            None => Workload::empty(),
        };
        let now = status.as_ref().map(|status| (status, &there));
        Ok(reconcile(plan, &workload, now, &Taken::now(self.mvm, name)?))
    }

    /// Does changes, except for starting.
    ///
    /// Errors: `mvm` fails; what it said is shown.
    pub fn apply(&self, plan: &Plan, changes: &[Change]) -> anyhow::Result<()> {
        let name = plan.name.as_str();
        let workload = serde_json::to_string(&workload(plan, self.host)?)?;
        for change in changes {
            match change {
                Change::Create { ports } => {
                    let project = plan.project.to_str().with_context(|| {
                        format!("{} is no UTF-8 text; rename the directory", plan.project.display())
                    })?;
                    let mut args = vec!["--quiet", "create", name, "--project", project, "--workload", "-"];
                    args.extend(ports.iter().flat_map(|port| ["--port", port.as_str()]));
                    told(self.mvm, &args, Some(&workload), &format!("make VM {name}"))?;
                }
                Change::RemovePorts(ports) => {
                    let mut args = vec!["port", name, "--remove"];
                    args.extend(ports.iter().map(String::as_str));
                    called(self.mvm, &args, None, &format!("remove forwards of VM {name}"))?;
                }
                Change::AddPorts(ports) => {
                    let mut args = vec!["port", name];
                    args.extend(ports.iter().map(String::as_str));
                    called(self.mvm, &args, None, &format!("add forwards to VM {name}"))?;
                }
                Change::Workload => {
                    let what = format!("change what runs in VM {name}");
                    called(self.mvm, &["workload", name, "-"], Some(&workload), &what)?;
                }
                Change::Start => {}
            }
        }
        Ok(())
    }

    /// Starts VMs, at a time where that is possible.
    ///
    /// Errors: one of them does not start; `mvm` says why.
    pub fn start(&self, plans: &[&Plan]) -> anyhow::Result<()> {
        if plans.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        let args: Vec<&str> = ["start"].into_iter().chain(names.iter().copied()).collect();
        told(self.mvm, &args, None, &format!("start {}", names.join(", "))).map(drop)
    }

    /// Processes that changes will end: those of a running VM that the plan has otherwise, with their process ids.
    ///
    /// Errors: the project's processes make no workload, `mvm` fails.
    pub fn ending(&self, plan: &Plan, changes: &[Change]) -> anyhow::Result<Vec<(String, i32)>> {
        if !changes.contains(&Change::Workload) {
            return Ok(Vec::new());
        }
        let (new, old) = (workload(plan, self.host)?, stored(self.mvm, plan)?);
        let ends = |name: &str| {
            let of = |workload: &Workload| workload.processes.iter().find(|one| one.name == name).cloned();
            of(&new) != of(&old)
        };
        let processes =
            status(self.mvm, &plan.name, None)?.map(|status| status.processes).unwrap_or_default();
        let running = processes.into_iter().filter_map(|one| Some((one.pid?, one.name)));
        Ok(running.filter(|(_, name)| ends(name)).map(|(pid, name)| (name, pid)).collect())
    }

    /// Waits until each process of a VM is ready, has ended or failed, or there was patience enough; gives the VM as it is then.
    /// Those that are `ending` must have gone before.
    ///
    /// Errors: the VM is gone, or `mvm` fails.
    pub fn settled(&self, plan: &Plan, ending: &[(String, i32)]) -> anyhow::Result<VmStatus> {
        let deadline = Instant::now() + PROCESSES_PATIENCE;
        let mut pause = Duration::from_millis(50);
        loop {
            let Some(status) = status(self.mvm, &plan.name, None)? else {
                bail!("VM {} is gone; somebody deleted it meanwhile", plan.name)
            };
            let on_the_way = |phase| matches!(phase, ProcessPhase::Starting | ProcessPhase::Waiting);
            let failed = status.processes.iter().any(|one| one.phase == ProcessPhase::Failed);
            let known = status.processes.len() >= plan.services.len() + plan.processes.len();
            let old = |one: &ProcessStatus| {
                ending.iter().any(|(name, pid)| one.name == *name && one.pid == Some(*pid))
            };
            let waits = status.processes.iter().any(|one| match one.phase {
                _ if old(one) => true,
                // Perhaps for the one that failed.
                ProcessPhase::Waiting => !failed,
                phase => on_the_way(phase),
            });
            if (known && !waits) || !status.runs() || Instant::now() >= deadline {
                return Ok(status);
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_secs(1));
        }
    }
}

/// The workload of a plan on a host.
///
/// Errors: the project's processes make none.
pub fn workload(plan: &Plan, host: &dyn Host) -> anyhow::Result<Workload> {
    plan::workload(plan, &|service| host.has(&service.program, &service.directories))
        .with_context(|| format!("what {} runs can't run in a VM", plan.project.display()))
}

/// Compares a plan's VM with the plan, which marks the VM as outdated, or no longer so; gives what differs.
///
/// Errors: the project's processes make no workload; `mvm` fails.
pub fn compare(
    plan: &Plan,
    mvm: &dyn Mvm,
    host: &dyn Host,
    patience: Option<Duration>,
) -> anyhow::Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Compared {
        #[serde(default)]
        differences: Vec<String>,
    }
    let json = serde_json::to_string(&workload(plan, host)?)?;
    let args = ["workload", plan.name.as_str(), "--compare", "-", "--json"];
    let said = mvm.call(&args, Some(&json), patience)?;
    if !said.ok {
        bail!("can't compare VM {} with its project: {}", plan.name, super::mvm::last_line(&said.stderr));
    }
    let compared: Compared =
        serde_json::from_str(&said.stdout).context("mvm workload says what is not understood")?;
    Ok(compared.differences)
}

/// The workload that a VM has.
fn stored(mvm: &dyn Mvm, plan: &Plan) -> anyhow::Result<Workload> {
    let name = plan.name.as_str();
    let text = called(mvm, &["workload", name], None, &format!("ask what runs in VM {name}"))?;
    if text.trim().is_empty() {
        return Ok(Workload::empty());
    }
    Workload::parse(&text).with_context(|| format!("can't read what runs in VM {name}"))
}
