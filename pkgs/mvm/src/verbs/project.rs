//! `mvm project`: for `mvmcd` of `mvm shell-init`.

use crate::context::Context;
use crate::declared;
use crate::exit::{Exit, Outcome};
use crate::output;
use anyhow::Context as _;
use mvm_spec::VmName;
use std::os::unix::ffi::OsStrExt as _;

/// Prints the directory that a VM's project is.
#[derive(clap::Args)]
pub struct Args {
    /// The VM.
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    name: VmName,
}

impl Args {
    /// Prints it.
    pub fn run(self, context: &Context) -> Outcome {
        let name = &self.name;
        let spec = match declared::is_declared(context, name) {
            true => declared::spec(name)?,
            false => context.store.get(name)?.spec,
        };
        let project = spec.project.with_context(|| format!("VM {name} has no project"))?;
        output::print([project.path.as_os_str().as_bytes(), b"\n"].concat())?;
        Ok(Exit::SUCCESS)
    }
}
