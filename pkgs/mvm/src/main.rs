//! `mvm`: isolated, disposable development machines for a project directory.

mod boot;
mod cli;
mod complete;
mod confirm;
mod context;
mod declared;
mod doctor;
mod draft;
mod exit;
mod output;
mod progress;
mod ssh;
mod target;
mod transfer;
mod units;
mod verbs;
mod workload_file;

use clap::{CommandFactory, Parser};
use std::process::ExitCode;

fn main() -> ExitCode {
    // Processes inside namespaces are made from this one, which must have a single thread and nothing opened yet.
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|what| what == "internal") {
        return mvm_host::internal::main(args);
    }
    clap_complete::CompleteEnv::with_factory(cli::Cli::command).complete();
    let cli = cli::Cli::parse();
    output::set_colors(cli.global.color);
    exit::report(cli.run())
}
