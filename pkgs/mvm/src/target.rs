//! Which VM is meant.

use crate::context::Context;
use crate::declared;
use anyhow::bail;
use mvm_spec::VmName;
use std::path::Path;

/// The VMs whose project is `dir` or the nearest directory above it that has any: the realm's own, else declared ones that
/// the caller may use. Ephemeral VMs belong to the command that made them.
pub fn of_directory(context: &Context, dir: &Path) -> anyhow::Result<Vec<VmName>> {
    let vms: Vec<_> = context
        .store
        .list()?
        .into_iter()
        .filter_map(|(name, vm)| {
            let spec = vm.ok()?.spec;
            (!spec.ephemeral).then_some((name, spec.project?.path))
        })
        .collect();
    let declared: Vec<_> = match declared::may_use() {
        true => declared::all()?
            .into_iter()
            .filter_map(|(name, spec)| Some((name, spec.ok()?.project?.path)))
            .filter(|(name, _)| declared::is_declared(context, name))
            .collect(),
        false => Vec::new(),
    };
    for dir in dir.ancestors() {
        for vms in [&vms, &declared] {
            let names: Vec<VmName> =
                vms.iter().filter(|(_, path)| path == dir).map(|(name, _)| name.clone()).collect();
            if !names.is_empty() {
                return Ok(names);
            }
        }
    }
    Ok(Vec::new())
}

/// The names given, or all VMs with `--all`; each once, in the order given.
pub fn several(context: &Context, names: &[VmName], all: bool) -> anyhow::Result<Vec<VmName>> {
    if all {
        return Ok(context.store.names()?);
    }
    let mut unique: Vec<VmName> = Vec::new();
    for name in names {
        if !unique.contains(name) {
            unique.push(name.clone());
        }
    }
    // Nothing is done for some of them if one name is a mistake.
    for name in &unique {
        context.expect_vm(name)?;
    }
    if unique.is_empty() {
        bail!("no VM named; give names, or --all");
    }
    Ok(unique)
}

/// A clap parser of VM names.
pub fn parse_name(text: &str) -> Result<VmName, String> {
    VmName::new(text).map_err(|error| error.to_string())
}
