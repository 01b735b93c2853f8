//! Starting VMs with progress.

use crate::context::Context;
use futures::StreamExt;
use mvm_host::client::{self, How, Started};
use mvm_spec::VmName;
use std::time::Instant;

/// How a verb starts VMs.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct BootArgs {
    /// Boot the VM, instead of making it from a booted template.
    #[arg(long)]
    pub cold: bool,
}

impl BootArgs {
    /// A start of a VM that stays.
    pub fn how(self) -> How {
        How { lease: false, cold: self.cold }
    }
}

/// Starts of several VMs that are under way at a time: enough to use what each of them waits for, and few enough that on a
/// small host none is starved until it looks dead.
const AT_ONCE: usize = 8;

/// Sees to it that all of `names` run, several at a time; in their order, whether each did already.
pub async fn ensure_all(context: &Context, names: &[VmName], how: How) -> Vec<anyhow::Result<bool>> {
    let starts = names.iter().map(|name| ensure(context, name, how));
    futures::stream::iter(starts).buffered(AT_ONCE).collect().await
}

/// Sees to it that VM `name` runs, whether it is of the realm or declared; whether it did already. A declared one is
/// started as its declaration says.
pub async fn ensure(context: &Context, name: &VmName, how: How) -> anyhow::Result<bool> {
    if crate::declared::is_declared(context, name) {
        return crate::declared::start(context, name).await;
    }
    Ok(start(context, name, how).await?.already)
}

/// Starts VM `name`, showing steps; `how` as in [`client::start`].
pub async fn start(context: &Context, name: &VmName, how: How) -> anyhow::Result<Started> {
    context.realm.create_dirs()?;
    let progress = &context.progress;
    let begun = Instant::now();
    let mut on_event = |event: &_| progress.event(event);
    let started = progress.during(client::start(&context.realm, name, how, &mut on_event)).await;
    progress.done();
    let started = started?;
    for note in &started.notes {
        progress.detail(note);
    }
    progress.timings(&started.timings);
    progress.took(&format!("start of {name}, in all"), begun.elapsed());
    Ok(started)
}
