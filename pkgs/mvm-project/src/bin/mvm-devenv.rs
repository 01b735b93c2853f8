//! `mvm-devenv`: what a project needs, and what its VM would get.

use std::process::ExitCode;

fn main() -> ExitCode {
    mvm_project::cli::main()
}
