//! `create-microvm-env`: an `.envrc` that binds a directory to a VM.

use std::process::ExitCode;

fn main() -> ExitCode {
    mvm_project::cli::create_env::main()
}
