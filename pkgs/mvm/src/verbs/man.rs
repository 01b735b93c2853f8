//! `mvm man`.

use crate::cli::Cli;
use crate::exit::{Exit, Outcome};
use anyhow::Context as _;
use clap::CommandFactory;
use std::path::PathBuf;

/// Writes the man pages of mvm and its verbs into a directory.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm man ~/.local/share/man/man1")]
pub struct Args {
    /// The directory; made if it is missing.
    #[arg(value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

impl Args {
    /// Writes the pages.
    pub fn run(self) -> Outcome {
        let failed = || format!("can't write man pages to {}", self.dir.display());
        std::fs::create_dir_all(&self.dir).with_context(failed)?;
        clap_mangen::generate_to(Cli::command(), &self.dir).with_context(failed)?;
        Ok(Exit::SUCCESS)
    }
}
