//! `mvm-spec`: checks specs, and prints their schema.

use anyhow::Context;
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Checks VM specs of microvm-dev.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Checks that each FILE is a valid spec; says what is wrong and exits 1 if one is not.
    Check {
        /// Spec files (JSON).
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Prints the JSON Schema of the latest spec version.
    Schema {
        /// That of workloads (`mvm workload`) instead.
        #[arg(long)]
        workload: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mvm-spec: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.verb {
        Verb::Schema { workload } => {
            let schema = if workload { mvm_spec::workload_schema() } else { mvm_spec::schema() };
            println!("{}", serde_json::to_string_pretty(&schema)?);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Check { files } => {
            let mut code = ExitCode::SUCCESS;
            for file in files {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("can't read the spec {}", file.display()))?;
                if let Err(error) = mvm_spec::parse(&text) {
                    eprintln!("mvm-spec: {}: {error}", file.display());
                    code = ExitCode::FAILURE;
                }
            }
            Ok(code)
        }
    }
}
