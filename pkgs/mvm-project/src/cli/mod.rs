//! The command line of `mvm-devenv`.

mod background;
mod bring_up;
pub mod create_env;
mod detect;
mod evaluate;
mod export;
mod plan;
mod services;
mod watch;

use anyhow::Context as _;
use clap::{CommandFactory, Parser, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Finds out what a project needs, and makes and starts a VM that has it.
///
/// Shows the plan, asks, makes the VM or changes the one there is, starts it, and says how its services are reached. Reads devenv.nix, flakes, shell.nix, and the files of package managers. Nothing of the project is run: what its Nix
/// code says is followed as far as the project's own files tell, and what they don't is listed, not guessed.
#[derive(Parser)]
#[command(
    name = "mvm-devenv",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  mvm-devenv                          a VM for the project here: shown, asked, made, started
  mvm-devenv --plan                   only shown
  mvm-devenv ~/src/shop --yes --copies 3
  mvm-devenv ~/src/shop web --nix     the same as a declaration for NixOS, for a VM named web
  mvm-devenv detect --json >microvm.json

Exit codes: 0 success, 1 failure, 2 wrong usage."
)]
pub struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    plan: plan::Args,
}

#[derive(Subcommand)]
enum Verb {
    /// Shows what a project's files say it needs, with places and what is not known.
    Detect(detect::Args),
    /// Prints what a shell on the host should know of a project's VM.
    Export(export::Args),
    /// Watches a project, and marks its VM as outdated when it changes.
    Watch(watch::Args),
    /// Lists the services that are known, and how true the mapping is.
    Services(services::Args),
    #[command(hide = true)]
    BringUp(bring_up::Args),
    /// Writes the man pages into a directory.
    #[command(hide = true)]
    Man {
        /// The directory; made if it is missing.
        dir: PathBuf,
    },
}

/// Parses the arguments, and runs what they say.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mvm-devenv: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.verb {
        None => cli.plan.run(),
        Some(Verb::Detect(args)) => args.run(),
        Some(Verb::Export(args)) => args.run(),
        Some(Verb::Watch(args)) => args.run(),
        Some(Verb::Services(args)) => args.run(),
        Some(Verb::BringUp(args)) => args.run(),
        Some(Verb::Man { dir }) => {
            let failed = || format!("can't write man pages to {}", dir.display());
            std::fs::create_dir_all(&dir).with_context(failed)?;
            clap_mangen::generate_to(Cli::command(), &dir).with_context(failed)
        }
    }
}

/// Writes to standard output; a reader that has seen enough is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("can't write to standard output"))
        }
        _ => Ok(()),
    }
}

fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
