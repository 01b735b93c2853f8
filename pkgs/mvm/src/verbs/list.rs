//! `mvm list`.

use crate::context::{Context, block_on};
use crate::declared::{self, unit};
use crate::exit::{Exit, Outcome};
use crate::output::{self, Tone};
use crate::units;
use mvm_host::keeper::protocol::{Phase, RunningVm};
use mvm_host::store::{Outdated, StoredVm, VmState};
use mvm_host::{client, outdated};
use mvm_ports::list::summary;
use mvm_spec::VmName;
use mvm_spec::egress::Egress;
use mvm_spec::forward::Forward;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Width of the column of forwards, in characters.
const PORTS_WIDTH: usize = 40;

/// Lists the VMs: your own, and those that this host's configuration declares.
#[derive(clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:
  mvm list
  mvm list -q                         names only
  mvm list --json | jq '.[] | select(.status == \"running\")'"
)]
pub struct Args {
    /// Print JSON: an array of objects.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
}

/// What a VM is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Booting.
    Starting,
    /// It answers.
    Running,
    /// Ending.
    Stopping,
    /// Not running.
    Stopped,
    /// Not running, and not because anybody asked for it.
    Failed,
    /// Its files can't be used.
    Damaged,
}

impl Status {
    /// From what the store and the keeper know.
    pub fn of(vm: Result<&StoredVm, &mvm_host::Error>, running: Option<&RunningVm>) -> Self {
        match (running.map(|running| running.phase), vm) {
            (Some(Phase::Starting), _) => Self::Starting,
            (Some(Phase::Running), _) => Self::Running,
            (Some(Phase::Stopping), _) => Self::Stopping,
            (None, Err(_)) => Self::Damaged,
            (None, Ok(vm)) if vm.state.last_failure.is_some() => Self::Failed,
            (None, Ok(_)) => Self::Stopped,
        }
    }

    /// From what systemd knows of a declared VM.
    pub fn of_unit(state: unit::State) -> Self {
        match state {
            unit::State::Active => Self::Running,
            unit::State::Activating => Self::Starting,
            unit::State::Deactivating => Self::Stopping,
            unit::State::Failed => Self::Failed,
            unit::State::Inactive => Self::Stopped,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
        }
    }

    /// In a word and its colour.
    pub fn shown(self) -> String {
        let tone = match self {
            Self::Running => Tone::Good,
            Self::Starting | Self::Stopping => Tone::Notice,
            Self::Failed | Self::Damaged => Tone::Bad,
            Self::Stopped => Tone::Plain,
        };
        output::tone(self.word(), tone)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: VmName,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vcpu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_mib: Option<u64>,
    /// What the VM may reach outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<Egress>,
    forwards: Vec<Forward>,
    persist: bool,
    ephemeral: bool,
    /// Whether this host's configuration declares it.
    declared: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uptime_seconds: Option<u64>,
    /// Its project has changed since its workload was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    outdated: Option<Outdated>,
    /// What is wrong with a damaged or failed VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Args {
    /// Lists the VMs.
    pub fn run(self, context: &Context, names_only: bool) -> Outcome {
        if names_only {
            let own = context.store.names()?;
            let declared = declared::all()?.into_iter().map(|(name, _)| name);
            let names: BTreeSet<VmName> = own.into_iter().chain(declared).collect();
            output::print(names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
            return Ok(Exit::SUCCESS);
        }
        let running = block_on(async { Ok(client::status(&context.realm).await?) })?;
        let running: HashMap<&VmName, &RunningVm> = running.iter().map(|vm| (&vm.name, vm)).collect();
        let now = units::now();
        let mut damaged = Vec::new();
        let mut rows: Vec<Row> = context
            .store
            .list()?
            .into_iter()
            // A declared one is told of below, by who runs it.
            .filter(|(name, _)| !declared::is_declared(context, name))
            .map(|(name, vm)| {
                let running = running.get(&name).copied();
                let forwards = context.store.forwards(&name).unwrap_or_else(|error| {
                    damaged.push(error.to_string());
                    Vec::new()
                });
                let forwards = forwards.into_iter().map(|stored| stored.forward).collect();
                Row { forwards, ..row(name, &vm, running, now) }
            })
            .collect();
        for problem in damaged {
            context.progress.warn(&problem);
        }
        rows.extend(declared_rows(context)?);
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        if self.json {
            output::print_json(&rows)?;
        } else if rows.is_empty() {
            context.progress.note("there are no VMs; mvm create makes one, mvm run -- CMD one for a command");
        } else {
            let header = ["NAME", "STATUS", "PROJECT", "ADDRESS", "PORTS", "CPU", "MEM", "UPTIME"];
            let home = std::env::var("HOME").ok();
            output::print(output::table(
                &header,
                rows.iter().map(|row| cells(row, home.as_deref())).collect(),
            ))?;
            for row in &rows {
                match (row.status, &row.problem) {
                    (Status::Damaged, Some(problem)) if row.declared => context.progress.warn(problem),
                    (Status::Damaged, Some(problem)) => {
                        context
                            .progress
                            .warn(&format!("{problem}; mvm delete --force {} removes it", row.name));
                    }
                    _ => {}
                }
            }
        }
        Ok(Exit::SUCCESS)
    }
}

/// The VMs that this host's configuration declares.
fn declared_rows(context: &Context) -> anyhow::Result<Vec<Row>> {
    let vms: Vec<_> =
        declared::all()?.into_iter().filter(|(name, _)| declared::is_declared(context, name)).collect();
    let names: Vec<VmName> = vms.iter().map(|(name, _)| name.clone()).collect();
    let mut statuses = unit::statuses(&names).unwrap_or_else(|error| {
        context.progress.warn(&format!("{error:#}"));
        HashMap::new()
    });
    Ok(vms
        .into_iter()
        .map(|(name, spec)| {
            let unit = statuses.remove(&name).unwrap_or_default();
            let stored = spec.map(|spec| StoredVm { spec, state: VmState::default() });
            let forwards = stored.as_ref().map(|vm| vm.spec.forwards.clone()).unwrap_or_default();
            let uptime_seconds = unit.uptime.map(|uptime| uptime.as_secs());
            let status = if stored.is_err() { Status::Damaged } else { Status::of_unit(unit.state) };
            let row = row(name, &stored, None, 0);
            let outdated = outdated::get(Path::new(outdated::DIR), &row.name);
            Row { declared: true, status, forwards, uptime_seconds, created_at: None, outdated, ..row }
        })
        .collect())
}

fn row(name: VmName, vm: &Result<StoredVm, mvm_host::Error>, running: Option<&RunningVm>, now: u64) -> Row {
    let status = Status::of(vm.as_ref(), running);
    let uptime_seconds = running.map(|running| now.saturating_sub(running.started_at));
    match vm {
        Ok(StoredVm { spec, state }) => Row {
            name,
            status,
            project: spec.project.as_ref().map(|project| project.path.clone()),
            address: spec.network.as_ref().map(|network| network.address.address),
            egress: spec.network.as_ref().map(|network| network.egress.clone()),
            forwards: Vec::new(),
            vcpu: Some(spec.resources.vcpu),
            mem_mib: Some(spec.resources.mem_mib),
            persist: spec.persistence.enable,
            ephemeral: spec.ephemeral,
            declared: false,
            created_at: Some(state.created_at),
            uptime_seconds,
            outdated: state.outdated.clone(),
            problem: state.last_failure.clone().filter(|_| status == Status::Failed),
        },
        Err(error) => Row {
            name,
            status,
            project: None,
            address: None,
            egress: None,
            forwards: Vec::new(),
            vcpu: None,
            mem_mib: None,
            persist: false,
            ephemeral: false,
            declared: false,
            created_at: None,
            uptime_seconds,
            outdated: None,
            problem: Some(error.to_string()),
        },
    }
}

/// The status, and whether `mvm status` has more to say.
fn status_cell(row: &Row) -> String {
    let status = row.status.shown();
    match &row.outdated {
        Some(_) => format!("{status}, {}", output::tone("outdated", Tone::Notice)),
        None => status,
    }
}

fn cells(row: &Row, home: Option<&str>) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        row.name.to_string(),
        status_cell(row),
        or_dash(row.project.as_ref().map(|path| short(&path.display().to_string(), home))),
        or_dash(row.address.map(|address| address.to_string())),
        or_dash(Some(summary(&row.forwards, PORTS_WIDTH)).filter(|text| !text.is_empty())),
        or_dash(row.vcpu.map(|vcpu| vcpu.to_string())),
        or_dash(row.mem_mib.map(units::mib)),
        or_dash(row.uptime_seconds.map(units::uptime)),
    ]
}

/// A path with `~` for the home.
fn short(path: &str, home: Option<&str>) -> String {
    let path = output::printable(path).replace('\n', "?");
    match home.filter(|home| home.len() > 1).and_then(|home| path.strip_prefix(home)) {
        Some("") => "~".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("~{rest}"),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_a_tilde() {
        assert_eq!(short("/home/u/shop", Some("/home/u")), "~/shop");
        assert_eq!(short("/home/u", Some("/home/u")), "~");
        assert_eq!(short("/home/user2", Some("/home/u")), "/home/user2");
        assert_eq!(short("/srv", Some("/")), "/srv");
    }
}
