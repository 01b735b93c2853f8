//! Starting VMs with progress.

use crate::context::Context;
use mvm_host::client::{self, Started};
use mvm_spec::VmName;
use std::time::Instant;

/// Sees to it that VM `name` runs, whether it is of the realm or declared; whether it did already.
pub async fn ensure(context: &Context, name: &VmName) -> anyhow::Result<bool> {
    if crate::declared::is_declared(context, name) {
        return crate::declared::start(context, name).await;
    }
    Ok(start(context, name, false).await?.already)
}

/// Starts VM `name`, showing steps; `lease` as in [`client::start`].
pub async fn start(context: &Context, name: &VmName, lease: bool) -> anyhow::Result<Started> {
    context.realm.create_dirs()?;
    let progress = &context.progress;
    let begun = Instant::now();
    let mut on_event = |event: &_| progress.event(event);
    let started = progress.during(client::start(&context.realm, name, lease, &mut on_event)).await;
    progress.done();
    let started = started?;
    progress.timings(&started.timings);
    progress.took(&format!("start of {name}, in all"), begun.elapsed());
    Ok(started)
}
