//! `mvm workload`.

use crate::context::{Context, block_on};
use crate::exit::{Exit, Outcome};
use crate::{declared, output, workload_file};
use anyhow::bail;
use mvm_host::client;
use mvm_spec::VmName;
use mvm_spec::workload::Workload;
use serde::Serialize;
use std::path::PathBuf;

/// Shows or replaces what runs in a VM by itself: processes, their order, variables.
///
/// Without FILE, prints the VM's workload as JSON. With FILE, that is the VM's workload from now on; if the VM runs,
/// processes that are new or changed are started, those that are gone are stopped, and all others run on. Variables
/// reach new sessions, and processes when they start again.
///
/// mvm-devenv makes workloads from projects; docs/reference/workload.md says what is in them.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm workload web                     what runs in web
  mvm workload web web.json            runs that from now on
  mvm workload web - < web.json
  mvm workload web --compare new.json  what would change; `mvm list` shows a VM that is outdated
  mvm workload web | jq .processes > processes.json")]
pub struct Args {
    /// The VM.
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    name: VmName,
    /// The new workload: a JSON file, `-` for standard input.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Change nothing that runs: print what differs from FILE, and mark the VM as outdated, or as up to date if nothing
    /// does.
    #[arg(long, requires = "file")]
    compare: bool,
    /// Print what differs as JSON.
    #[arg(long, requires = "file")]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    name: VmName,
    /// What differs, a few words each.
    differences: Vec<String>,
    /// Whether a running VM has the new workload.
    applied: bool,
}

impl Args {
    /// Shows, compares or replaces the workload.
    pub fn run(self, context: &Context) -> Outcome {
        let name = &self.name;
        context.expect_vm(name)?;
        if declared::is_declared(context, name) {
            bail!("VM `{name}` is declared: what runs in it is said in {}", declared::place(name));
        }
        let Some(file) = &self.file else {
            let workload = context.store.workload(name)?.unwrap_or_else(Workload::empty);
            output::print_json(&workload)?;
            return Ok(Exit::SUCCESS);
        };
        let new = workload_file::read(file)?;
        if self.compare { self.compare(context, &new) } else { self.replace(context, &new) }
    }

    fn compare(&self, context: &Context, new: &Workload) -> Outcome {
        let name = &self.name;
        let differences = context.store.workload(name)?.unwrap_or_else(Workload::empty).differences(new);
        context.store.set_outdated(name, differences.clone())?;
        if differences.is_empty() {
            context.progress.note(&format!("{name} is up to date"));
        }
        self.report(differences, false)
    }

    fn replace(&self, context: &Context, new: &Workload) -> Outcome {
        let name = &self.name;
        // One that can't be read is what is to be replaced.
        let old = context.store.workload(name).ok().flatten().unwrap_or_else(Workload::empty);
        let differences = old.differences(new);
        context.store.set_workload(name, new)?;
        // Also where nothing differs: it may be that an earlier call was interrupted here.
        let applied = block_on(async { Ok(client::apply_workload(&context.realm, name).await?) })?;
        context.progress.note(&match (differences.is_empty(), applied) {
            (true, _) => format!("{name} has this workload already"),
            (false, true) => format!("{name} runs its new workload; mvm status {name} shows how it is"),
            (false, false) => format!("{name} has a new workload, and runs it when it starts"),
        });
        self.report(differences, applied)
    }

    fn report(&self, differences: Vec<String>, applied: bool) -> Outcome {
        if self.json {
            output::print_json(&Report { name: self.name.clone(), differences, applied })?;
        } else {
            output::print(differences.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        }
        Ok(Exit::SUCCESS)
    }
}
