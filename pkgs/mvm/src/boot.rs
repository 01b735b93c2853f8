//! Starting VMs with progress.

use crate::context::Context;
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
