//! What runs in the embedded guest: services and processes of a plan as a workload.

use super::{Plan, PlannedProcess, PlannedService};
use mvm_spec::workload::{self, Process, Restart, StopSignal, VERSION, Workload};
use std::collections::BTreeMap;

/// The workload of a plan. `startable` says whether a service's program is there: processes without an order of their own
/// wait for such services, and not for one that will never be ready.
///
/// Errors: the project's processes make no workload (they wait for each other in a circle, have a variable of no usable name).
pub fn workload(
    plan: &Plan,
    startable: &dyn Fn(&PlannedService) -> bool,
) -> Result<Workload, workload::WorkloadError> {
    let names = names(plan);
    let known = |name: &String| names.get(name).cloned();
    let mut processes: Vec<Process> =
        plan.services.iter().filter_map(|one| Some(service(one, known(&one.name)?))).collect();
    let ready: Vec<String> =
        plan.services.iter().filter(|one| startable(one)).filter_map(|one| known(&one.name)).collect();
    for one in &plan.processes {
        let Some(name) = names.get(&process_key(&one.name)).cloned() else { continue };
        let after = match one.after.is_empty() {
            true => ready.clone(),
            false => one
                .after
                .iter()
                .filter_map(|other| names.get(&process_key(other)).or_else(|| names.get(other)).cloned())
                .filter(|other| *other != name)
                .collect(),
        };
        processes.push(process(one, name, after));
    }
    let workload = Workload {
        version: VERSION,
        working_directory: plan.working_directory.clone(),
        environment: plan.env.clone(),
        environment_files: plan.env_files.clone(),
        processes,
    };
    match workload.violations() {
        violations if violations.is_empty() => Ok(workload),
        violations => Err(workload::WorkloadError::Invalid(violations)),
    }
}

/// Names as workloads have them, unique: of services by their names, of processes by [`process_key`].
fn names(plan: &Plan) -> BTreeMap<String, String> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let services = plan.services.iter().map(|one| (one.name.clone(), one.name.as_str()));
    let processes = plan.processes.iter().map(|one| (process_key(&one.name), one.name.as_str()));
    for (key, name) in services.chain(processes) {
        let base = usable(name);
        let taken = |candidate: &String| names.values().any(|there| there == candidate);
        let mut candidate = base.clone();
        for number in 2.. {
            if !taken(&candidate) {
                break;
            }
            candidate = format!("{base}-{number}");
        }
        names.insert(key, candidate);
    }
    names
}

/// A service and a process may have one name.
fn process_key(name: &str) -> String {
    format!("process {name}")
}

fn usable(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(letter).take(60).collect();
    let name = name.trim_start_matches(['.', '_', '-']);
    if name.is_empty() { "process".to_owned() } else { name.to_owned() }
}

fn service(one: &PlannedService, name: String) -> Process {
    let command = one.command.clone();
    Process {
        name,
        exec: command.exec,
        prepare: command.prepare,
        ready: command.ready,
        setup: command.setup,
        cwd: None,
        environment: BTreeMap::new(),
        after: Vec::new(),
        ports: one.ports.values().copied().filter(|port| *port != 0).collect(),
        restart: Restart::Always,
        stop_signal: command.stop_signal,
        refuses_root: one.refuses_root,
        directories: one.directories.clone(),
        program: Some(one.program.clone()),
        package: one.debian.clone(),
    }
}

fn process(one: &PlannedProcess, name: String, after: Vec<String>) -> Process {
    Process {
        name,
        exec: one.exec.clone(),
        prepare: String::new(),
        ready: String::new(),
        setup: String::new(),
        cwd: one.cwd.clone(),
        environment: one.env.clone(),
        after,
        ports: one.ports.values().copied().filter(|port| *port != 0).collect(),
        restart: Restart::OnFailure,
        stop_signal: StopSignal::default(),
        refuses_root: false,
        directories: Vec::new(),
        program: None,
        package: None,
    }
}
