//! `mvm port`.

use crate::context::{Context, block_on};
use crate::declared;
use crate::exit::{Exit, Outcome};
use crate::output::{self, Tone};
use mvm_gate::protocol::{Answer, Call};
use mvm_ports::change::{self, Which};
use mvm_ports::list::{self, Listed, Listing, State};
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
        if declared::is_declared(context, &self.name) {
            return block_on(self.by_gate(context));
        }
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
        let added = change::add(&context.realm, &context.store, &self.name, &self.forwards).await?;
        let running = added.now == Now::Served;
        self.tell_added(context, &added.new, &added.already, running)
    }

    fn tell_added(&self, context: &Context, new: &[Forward], already: &[Forward], running: bool) -> Outcome {
        let name = &self.name;
        if self.json {
            output::print_json(&serde_json::json!({
                "name": name, "running": running, "added": new, "already": already,
            }))?;
        } else {
            output::print(lines(name, already.iter().chain(new)))?;
        }
        if !running {
            context.progress.note(&format!("{name} does not run: served when it starts"));
        }
        Ok(Exit::SUCCESS)
    }

    async fn remove(&self, context: &Context, which: &Which) -> Outcome {
        let removed = change::remove(&context.realm, &context.store, &self.name, which).await?;
        let absent: Vec<String> = removed.absent.iter().map(ToString::to_string).collect();
        self.tell_removed(context, &removed.removed, &absent, removed.now == Now::Served)
    }

    fn tell_removed(
        &self,
        context: &Context,
        removed: &[Forward],
        absent: &[String],
        running: bool,
    ) -> Outcome {
        let name = &self.name;
        if self.json {
            output::print_json(&serde_json::json!({
                "name": name, "running": running, "removed": removed,
            }))?;
        } else {
            for forward in removed {
                context.progress.note(&format!("removed {}", list::line(name, forward)));
            }
        }
        for absent in absent {
            context.progress.note(&format!("{name} has no forward {absent}"));
        }
        Ok(Exit::SUCCESS)
    }

    async fn show(&self, context: &Context) -> Outcome {
        let listing = list::forwards(&context.realm, &context.store, &self.name).await?;
        self.tell(context, &listing)
    }

    /// A declared VM's forwards are root's to change: the gate does it for members of the group.
    async fn by_gate(&self, context: &Context) -> Outcome {
        let vm = self.name.clone();
        let call = if !self.forwards.is_empty() {
            let all = self.forwards.iter().flat_map(ForwardRequest::forwards);
            Call::Add { vm, forwards: all.map(|forward| forward.to_string()).collect() }
        } else if self.remove_all {
            Call::Remove { vm, forwards: None }
        } else if !self.remove.is_empty() {
            Call::Remove { vm, forwards: Some(self.remove.iter().map(ToString::to_string).collect()) }
        } else {
            Call::Forwards { vm }
        };
        match declared::ask(&call).await? {
            Answer::Added { running, new, already } => self.tell_added(context, &new, &already, running),
            Answer::Removed { running, removed, absent } => {
                self.tell_removed(context, &removed, &absent, running)
            }
            Answer::Forwards { running, forwards } => self.tell(context, &Listing { running, forwards }),
            other => anyhow::bail!(declared::unexpected(&other)),
        }
    }

    fn tell(&self, context: &Context, listing: &Listing) -> Outcome {
        let name = &self.name;
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
