//! `mvm cache`.

use crate::context::Context;
use crate::exit::{Exit, Outcome};
use crate::{output, units};
use mvm_host::template::cache::{self, Entry};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// Shows the templates that VMs are made from, or removes them.
///
/// A template is a guest that was booted once and saved while it knew of no VM; there is one for each combination of
/// kernel, VMM, memory and processors. They are made when they are missing, and those not used for longest are removed
/// when all together take more than 1 GiB.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm cache
  mvm cache --json
  mvm cache prune                     what is too much, and what a crash left behind
  mvm cache prune --all               everything: the next start makes its template anew")]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Print JSON: a list of templates.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum What {
    /// Removes templates; running VMs don't need theirs.
    Prune(PruneArgs),
}

#[derive(clap::Args)]
struct PruneArgs {
    /// Remove all of them, and forget for which none could be made.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    key: &'a str,
    bytes: u64,
    used_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_mib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vcpu: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vmm: Option<&'a str>,
}

impl Args {
    /// Shows or removes templates.
    pub fn run(self, context: &Context) -> Outcome {
        let dir = &context.realm.cache_dir;
        if let Some(What::Prune(PruneArgs { all })) = self.what {
            let removed = if all { cache::clear(dir) } else { cache::prune(dir, None) };
            context.progress.note(&format!("removed {}", units::count(removed.len() as u64, "template")));
            return Ok(Exit::SUCCESS);
        }
        let entries = cache::list(dir);
        if self.json {
            output::print_json(&entries.iter().map(report).collect::<Vec<_>>())?;
        } else {
            let headings = ["TEMPLATE", "MEM", "CPU", "ACCEL", "KERNEL", "SIZE", "USED"];
            output::print(output::table(&headings, entries.iter().map(row).collect()))?;
        }
        Ok(Exit::SUCCESS)
    }
}

fn report(entry: &Entry) -> Report<'_> {
    let about = entry.about.as_ref();
    Report {
        key: &entry.key,
        bytes: entry.bytes,
        used_at: entry.used_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        mem_mib: about.map(|about| about.mem_mib),
        vcpu: about.map(|about| about.vcpu),
        accel: about.map(|about| about.accel.as_str()),
        kernel: about.map(|about| about.kernel.as_str()),
        vmm: about.map(|about| about.vmm.as_str()),
    }
}

fn row(entry: &Entry) -> Vec<String> {
    let about = entry.about.as_ref();
    let unknown = || "?".to_owned();
    let age = SystemTime::now().duration_since(entry.used_at).unwrap_or_default();
    vec![
        entry.key.chars().take(12).collect(),
        about.map_or_else(unknown, |about| units::mib(about.mem_mib)),
        about.map_or_else(unknown, |about| about.vcpu.to_string()),
        about.map_or_else(unknown, |about| about.accel.clone()),
        about.map_or_else(unknown, |about| output::printable(&about.kernel)),
        units::bytes(entry.bytes),
        format!("{} ago", units::uptime(age.as_secs())),
    ]
}
