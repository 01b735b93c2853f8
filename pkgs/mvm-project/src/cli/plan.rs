//! `mvm-devenv [DIR] [NAME]`.

use crate::plan;
use mvm_spec::VmName;
use std::path::PathBuf;

/// The plan of a VM for a project.
#[derive(clap::Args)]
pub struct Args {
    /// The project: a directory of it [default: the current directory].
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
    /// The VM's name [default: the project's].
    name: Option<VmName>,
    /// Show the plan and change nothing, which is all that it does without other options, too.
    #[arg(long, conflicts_with_all = ["json", "nix"])]
    plan: bool,
    /// Print the plan as JSON: an object.
    #[arg(long, conflicts_with = "nix")]
    json: bool,
    /// Print the declaration `services.microvm-dev.vms.NAME` for NixOS.
    #[arg(long)]
    nix: bool,
}

impl Args {
    /// Plans and prints.
    pub fn run(self) -> anyhow::Result<()> {
        let project = crate::detect::detect(self.dir.as_deref().unwrap_or(std::path::Path::new(".")))?;
        let name = self.name.unwrap_or_else(|| plan::default_name(&project));
        let planned = plan::plan(&project, name);
        if self.json {
            super::print_json(&planned)
        } else if self.nix {
            super::print(&plan::declaration(&planned))
        } else {
            super::print(&plan::show(&planned))
        }
    }
}
