//! `mvm port`.

use crate::context::{Context, block_on};
use crate::exit::{Exit, Outcome};
use crate::output::{self, Tone};
use mvm_ports::change::{self, Which};
use mvm_ports::list::{self, Listed, State};
use mvm_ports::removal::Removal;
use mvm_ports::serving::Now;
use mvm_spec::VmName;
use mvm_spec::forward::{Forward, ForwardRequest};

/// Leads ports of this host to ports of a VM; shows and removes such forwards.
///
/// Forwards are written [ADDRESS:]HOST[-HOST]:GUEST[-GUEST][/tcp|/udp]. Without an address they are for this host alone:
/// 127.0.0.1 and ::1. HOST 0 is any free port. They stay with the VM until they are removed, and are served while it
/// runs. Several are added, or removed, all or none.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm port web 8080:3000              http://localhost:8080 is port 3000 of web
  mvm port web 0:5432                 any free port, which is printed
  mvm port web 0.0.0.0:8443:443       for other hosts, too
  mvm port web 5353:53/udp 3000-3010:3000-3010
  mvm port web                        what there is
  mvm port web --remove 8080")]
pub struct Args {
    /// The VM.
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    name: VmName,
    /// Forwards to add.
    #[arg(value_name = "FORWARD", conflicts_with_all = ["remove", "remove_all", "list"])]
    forwards: Vec<ForwardRequest>,
    /// Remove forwards, written as they were added, or their host's side alone.
    #[arg(long, value_name = "FORWARD", num_args = 1.., conflicts_with_all = ["remove_all", "list"])]
    remove: Vec<Removal>,
    /// Remove all forwards but those of the VM's spec.
    #[arg(long, conflicts_with = "list")]
    remove_all: bool,
    /// List the forwards; so does naming none.
    #[arg(long)]
    list: bool,
    /// Print JSON: an object.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Adds, removes or lists.
    pub fn run(self, context: &Context) -> Outcome {
        context.expect_vm(&self.name)?;
        block_on(async {
            if !self.forwards.is_empty() {
                self.add(context).await
            } else if self.remove_all {
                self.remove(context, &Which::All).await
            } else if !self.remove.is_empty() {
                self.remove(context, &Which::These(self.remove.clone())).await
            } else {
                self.show(context).await
            }
        })
    }

    async fn add(&self, context: &Context) -> Outcome {
        let name = &self.name;
        let added = change::add(&context.realm, &context.store, name, &self.forwards).await?;
        let running = added.now == Now::Served;
        if self.json {
            output::print_json(&serde_json::json!({
                "name": name, "running": running, "added": added.new, "already": added.already,
            }))?;
        } else {
            output::print(lines(name, added.already.iter().chain(&added.new)))?;
        }
        if !running {
            context.progress.note(&format!("{name} does not run: served when it starts"));
        }
        Ok(Exit::SUCCESS)
    }

    async fn remove(&self, context: &Context, which: &Which) -> Outcome {
        let name = &self.name;
        let removed = change::remove(&context.realm, &context.store, name, which).await?;
        let running = removed.now == Now::Served;
        if self.json {
            output::print_json(&serde_json::json!({
                "name": name, "running": running, "removed": removed.removed,
            }))?;
        } else {
            for forward in &removed.removed {
                context.progress.note(&format!("removed {}", list::line(name, forward)));
            }
        }
        for absent in &removed.absent {
            context.progress.note(&format!("{name} has no forward {absent}"));
        }
        Ok(Exit::SUCCESS)
    }

    async fn show(&self, context: &Context) -> Outcome {
        let name = &self.name;
        let listing = list::forwards(&context.realm, &context.store, name).await?;
        if self.json {
            output::print_json(&serde_json::json!({
                "name": name, "running": listing.running, "forwards": listing.forwards,
            }))?;
            return Ok(Exit::SUCCESS);
        }
        let lines: String = listing.forwards.iter().map(|listed| listed_line(name, listed) + "\n").collect();
        output::print(lines)?;
        if listing.forwards.is_empty() {
            context.progress.note(&format!("{name} has no forwards; mvm port {name} 8080:3000 adds one"));
        } else if !listing.running {
            context.progress.note(&format!("{name} does not run: served when it starts"));
        }
        Ok(Exit::SUCCESS)
    }
}

/// Says how to reach the forwards of a VM that was just made.
pub fn note(context: &Context, name: &VmName, forwards: &[Forward]) {
    for forward in forwards {
        context.progress.note(&list::line(name, forward));
    }
}

/// A forward with what hinders it.
pub fn listed_line(name: &VmName, listed: &Listed) -> String {
    let line = list::line(name, &listed.forward);
    match (listed.state, &listed.reason) {
        (State::Active | State::Stored, _) => line,
        (State::Blocked, Some(reason)) => {
            format!("{line}  {}: {}", output::tone("blocked", Tone::Bad), output::printable(reason))
        }
        (State::Blocked, None) => format!("{line}  {}", output::tone("blocked", Tone::Bad)),
        (State::Missing, _) => {
            format!("{line}  {}: mvm-ports sync mends it", output::tone("not served", Tone::Bad))
        }
    }
}

fn lines<'a>(name: &VmName, forwards: impl IntoIterator<Item = &'a Forward>) -> String {
    forwards.into_iter().map(|forward| list::line(name, forward) + "\n").collect()
}
