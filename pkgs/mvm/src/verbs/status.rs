//! `mvm status`.

mod workload;

use super::list::Status;
use super::stop;
use crate::context::{Context, block_on};
use crate::declared::{self, unit};
use crate::exit::{Exit, Outcome};
use crate::{output, units};
use mvm_gate::protocol::{Answer, Call};
use mvm_host::client;
use mvm_host::keeper::protocol::RunningVm;
use mvm_host::memory_use::MemoryUse;
use mvm_host::net::counters::Denied;
use mvm_host::overlay::ChangeKind;
use mvm_host::store::{Outdated, Store, StoredVm, VmPaths, VmState};
use mvm_ports::list::{self as ports, Listing};
use mvm_spec::workload::ProcessStatus;
use mvm_spec::{VmName, VmSpec};
use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Shows everything there is to know about a VM.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm status web
  mvm status web --json | jq .vmmPid")]
pub struct Args {
    /// The VM.
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    name: VmName,
    /// Print JSON: an object with the spec and the state in it.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    name: VmName,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vmm_pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fs_pid: Option<i32>,
    /// Whether it was made from a template, if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    warm: Option<bool>,
    /// What it takes of this host's memory, if it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<MemoryUse>,
    /// How the processes of its workload are, if it runs.
    processes: Vec<ProcessStatus>,
    /// Its project has changed since its workload was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    outdated: Option<Outdated>,
    directory: PathBuf,
    /// Space on disk of everything of the VM, in bytes.
    disk_bytes: u64,
    changes: ChangesReport,
    /// Ports of this host that lead to it.
    forwards: Vec<ports::Listed>,
    /// Packets refused since its start, if it runs and has a network.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<Denied>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<VmSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<VmState>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangesReport {
    added: usize,
    modified: usize,
    deleted: usize,
    /// There are more than were counted.
    truncated: bool,
}

impl Args {
    /// Shows the VM.
    pub fn run(self, context: &Context) -> Outcome {
        context.expect_vm(&self.name)?;
        if declared::is_declared(context, &self.name) {
            return self.declared(context);
        }
        let (running, network, processes) = block_on(async {
            let running = client::status(&context.realm).await?;
            let running = running.into_iter().find(|vm| vm.name == self.name);
            let network = Network {
                // What can't be found out is a line of its own, and hides nothing else.
                ports: ports::forwards(&context.realm, &context.store, &self.name).await,
                denied: match &running {
                    Some(_) => client::denied(&context.realm, &self.name).await,
                    None => Ok(None),
                },
            };
            let processes = match &running {
                Some(_) => client::processes(&context.realm, &self.name).await,
                None => Ok(Vec::new()),
            };
            Ok((running, network, processes))
        })?;
        let processes = processes.unwrap_or_else(|error| {
            context.progress.warn(&error.to_string());
            Vec::new()
        });
        let report = Report { processes, ..report(context, &self.name, running, network) };
        if self.json {
            output::print_json(&report)?;
        } else {
            let mut lines = lines(&report, &context.store.paths(&self.name));
            let asleep =
                report.processes.is_empty().then(|| context.store.workload(&self.name).ok().flatten());
            workload::add(&mut lines, &report.processes, asleep.flatten().as_ref(), report.outdated.as_ref());
            output::print(output::table(&[], lines))?;
        }
        Ok(Exit::SUCCESS)
    }
}

impl Args {
    /// Shows a declared VM: what its unit, the gate and its spec say.
    fn declared(&self, context: &Context) -> Outcome {
        let name = &self.name;
        let unit = unit::status(name)?;
        let network = block_on(async {
            let vm = || name.clone();
            let ports = match declared::ask(&Call::Forwards { vm: vm() }).await {
                Ok(Answer::Forwards { forwards, .. }) => Ok(forwards),
                Ok(other) => Err(anyhow::anyhow!(declared::unexpected(&other))),
                Err(error) => Err(error),
            };
            let denied = match declared::ask(&Call::Denied { vm: vm() }).await {
                Ok(Answer::Denied { denied }) => denied,
                // Said by the first.
                _ => None,
            };
            Ok((ports, denied))
        })?;
        let (ports, denied) = network;
        let forwards = ports.unwrap_or_else(|error| {
            context.progress.warn(&error.to_string());
            Vec::new()
        });
        let spec = declared::spec(name)?;
        let paths = Store::open("/var/lib/microvm-dev").paths(name);
        let report = Report {
            name: name.clone(),
            status: Status::of_unit(unit.state),
            problem: None,
            uptime_seconds: unit.uptime.map(|uptime| uptime.as_secs()),
            accel: None,
            vmm_pid: unit.pid,
            fs_pid: None,
            warm: None,
            // The processes are others': their unit counts for them.
            memory: None,
            processes: Vec::new(),
            outdated: None,
            disk_bytes: disk_use(&paths.dir),
            directory: paths.dir.clone(),
            // The directory is root's.
            changes: ChangesReport::default(),
            forwards,
            denied,
            spec: Some(spec),
            state: None,
        };
        if self.json {
            output::print_json(&report)?
        } else {
            output::print(output::table(&[], lines(&report, &paths)))?
        }
        Ok(Exit::SUCCESS)
    }
}

/// What proxy and keeper say of the VM's network.
struct Network {
    ports: mvm_ports::Result<Listing>,
    denied: mvm_host::Result<Option<Denied>>,
}

fn report(context: &Context, name: &VmName, running: Option<RunningVm>, network: Network) -> Report {
    let forwards = network.ports.map(|ports| ports.forwards).unwrap_or_else(|error| {
        context.progress.warn(&error.to_string());
        Vec::new()
    });
    let denied = network.denied.unwrap_or_else(|error| {
        context.progress.warn(&error.to_string());
        None
    });
    let paths = context.store.paths(name);
    let vm = context.store.get(name);
    let status = Status::of(vm.as_ref(), running.as_ref());
    let problem = match &vm {
        Ok(StoredVm { state, .. }) => state.last_failure.clone(),
        Err(error) => Some(error.to_string()),
    };
    let changes = stop::changes(context, name).unwrap_or_default();
    let (spec, state) = vm.map_or((None, None), |vm| (Some(vm.spec), Some(vm.state)));
    let (started_at, accel, warm, vmm_pid, fs_pid) = match running {
        Some(vm) => (Some(vm.started_at), Some(vm.accel), Some(vm.warm), vm.vmm_pid, vm.fs_pid),
        None => (None, None, None, None, None),
    };
    let memory = vmm_pid.and_then(|vmm| MemoryUse::of(vmm, fs_pid.as_slice()));
    Report {
        name: name.clone(),
        status,
        problem,
        uptime_seconds: started_at.map(|at| units::now().saturating_sub(at)),
        accel,
        vmm_pid,
        fs_pid,
        warm,
        memory,
        processes: Vec::new(),
        outdated: state.as_ref().and_then(|state| state.outdated.clone()),
        disk_bytes: disk_use(&paths.dir),
        directory: paths.dir,
        changes: ChangesReport {
            added: changes.count(ChangeKind::Added),
            modified: changes.count(ChangeKind::Modified),
            deleted: changes.count(ChangeKind::Deleted),
            truncated: changes.truncated,
        },
        forwards,
        denied,
        spec,
        state,
    }
}

/// Space on disk below `dir`, in bytes; what can't be read counts as nothing.
fn disk_use(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            // st_blocks counts 512 bytes each (stat(3type)).
            let own = meta.blocks() * 512;
            Some(if meta.is_dir() { own + disk_use(&entry.path()) } else { own })
        })
        .sum()
}

fn lines(report: &Report, paths: &VmPaths) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String| lines.push(vec![label.to_owned(), text]);
    let status = match (report.uptime_seconds, &report.accel) {
        (Some(seconds), Some(accel)) => {
            let origin = if report.warm == Some(true) { "from a template" } else { "booted" };
            format!("{} for {} ({accel}, {origin})", report.status.shown(), units::uptime(seconds))
        }
        _ => report.status.shown(),
    };
    line("Name", report.name.to_string());
    line("Status", status);
    if let Some(problem) = &report.problem {
        line("Problem", output::printable(problem));
    }
    if let Some(spec) = &report.spec {
        let project = spec.project.as_ref().map(|project| project.path.display().to_string());
        line("Project", project.unwrap_or_else(|| "none".to_owned()));
        line("Changes", changes_line(&report.changes));
        line("CPU", spec.resources.vcpu.to_string());
        line("Memory", units::mib(spec.resources.mem_mib));
        line(
            "Network",
            match &spec.network {
                Some(network) => {
                    format!("{} ({}), gateway {}", network.address, network.mac, network.gateway)
                }
                None => "none".to_owned(),
            },
        );
        if let Some(network) = &spec.network {
            line("Egress", network.egress.to_string());
            if !network.peers.is_empty() {
                let peers: Vec<&str> = network.peers.iter().map(VmName::as_str).collect();
                line("Peers", peers.join(", "));
            }
        }
        for (index, listed) in report.forwards.iter().enumerate() {
            line(if index == 0 { "Forwards" } else { "" }, super::port::listed_line(&report.name, listed));
        }
        if let Some(denied) = &report.denied {
            line("Refused", denied_line(denied));
        }
        line("User", format!("{} ({}:{})", spec.user.name, spec.user.uid, spec.user.gid));
        line(
            "Persistent",
            match spec.persistence.enable {
                true => format!("yes, with a home disk of {}", units::mib(spec.persistence.home_mib)),
                false => "no: changes are gone when it stops".to_owned(),
            },
        );
        if !spec.environment.is_empty() {
            // The values may be secrets; --json shows them.
            let names = spec.environment.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            line("Environment", names);
        }
    }
    if let Some(pid) = report.vmm_pid {
        let fs = report.fs_pid.map(|pid| format!(", file server {pid}")).unwrap_or_default();
        line("Processes", format!("VMM {pid}{fs}"));
    }
    if let Some(MemoryUse { private_bytes, guest_bytes, shared_bytes }) = report.memory {
        let (private, guest) = (units::bytes(private_bytes), units::bytes(guest_bytes));
        let shared = units::bytes(shared_bytes);
        line(
            "Holds",
            format!("{private} of memory alone, {guest} of it the guest's; {shared} shared with others"),
        );
    }
    line("Disk", units::bytes(report.disk_bytes));
    line("Directory", report.directory.display().to_string());
    line("Console", paths.console_log().display().to_string());
    line(
        "Connect",
        match report.status {
            Status::Running => format!("mvm shell {0}; or ssh {0}.mvm, with mvm ssh-config {0}", report.name),
            Status::Damaged => format!("not possible; mvm delete --force {} removes it", report.name),
            _ => format!("mvm shell {} starts it", report.name),
        },
    );
    lines
}

/// Packets that the VM sent, or that came for it, and that the rules did not let through.
fn denied_line(denied: &Denied) -> String {
    let kinds = [
        ("to other VMs", denied.guests),
        ("to this host", denied.host),
        ("to the outside", denied.outside),
        ("under another's address", denied.spoofed),
    ];
    let counted = kinds.iter().filter(|(_, count)| count.packets > 0);
    let counted: Vec<String> =
        counted.map(|(what, count)| format!("{} {what}", units::count(count.packets, "packet"))).collect();
    if counted.is_empty() { "nothing".to_owned() } else { counted.join(", ") }
}

fn changes_line(changes: &ChangesReport) -> String {
    let ChangesReport { added, modified, deleted, truncated } = changes;
    match (added + modified + deleted, truncated) {
        (0, _) => "none".to_owned(),
        (_, true) => format!("more than {}", added + modified + deleted),
        (_, false) => format!("{added} added, {modified} changed, {deleted} deleted"),
    }
}
