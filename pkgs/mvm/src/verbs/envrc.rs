//! `mvm envrc`.

use crate::exit::Outcome;
use anyhow::Context as _;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

/// The program that does it, beside this one.
const PROGRAM: &str = "create-microvm-env";

/// Writes an .envrc that binds the current directory to a VM, for direnv: another name of create-microvm-env.
#[derive(clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Examples:
  mvm envrc && direnv allow
  mvm envrc --help                    all its options"
)]
pub struct Args {
    /// Arguments of create-microvm-env.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    args: Vec<OsString>,
}

impl Args {
    /// Becomes that program; returns only if it can't.
    pub fn run(self) -> Outcome {
        let own = std::env::current_exe().context("can't find this program's own path")?;
        let beside = own.with_file_name(PROGRAM);
        let program = if beside.is_file() { beside.as_path() } else { Path::new(PROGRAM) };
        let error = std::process::Command::new(program).args(self.args).exec();
        Err(anyhow::Error::new(error)
            .context(format!("can't run {PROGRAM}; it belongs beside mvm, or on the search path")))
    }
}
