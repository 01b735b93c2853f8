//! `mvm doctor`.

use crate::context::Context;
use crate::doctor::{self, Check, Verdict};
use crate::exit::{Exit, Outcome};
use crate::output::{self, Tone};

/// Checks what this host has for VMs, and says how to get what is missing.
///
/// Exit code: 1 if VMs can't run, 0 otherwise.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm doctor
  mvm doctor --fix                    remove what a crash left behind
  mvm doctor --json | jq '.[] | select(.verdict != \"ok\")'")]
pub struct Args {
    /// Remove what a crash of mvm or of this host left behind.
    #[arg(long)]
    fix: bool,
    /// Print JSON: an array of checks.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Checks.
    pub fn run(self, context: &Context) -> Outcome {
        let checks = doctor::run(context, self.fix);
        if self.json {
            output::print_json(&checks)?;
        } else {
            output::print(text(&checks))?;
        }
        let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
        Ok(if failed { Exit::FAILURE } else { Exit::SUCCESS })
    }
}

fn text(checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let (word, tone) = match check.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warn => ("warn", Tone::Notice),
            Verdict::Fail => ("FAIL", Tone::Bad),
        };
        vec![output::tone(word, tone), check.name.to_owned(), output::printable(&check.finding)]
    });
    let mut text = output::table(&[], rows.collect());
    let mut advised = false;
    for check in checks {
        if let Some(advice) = &check.advice {
            if !advised {
                text.push_str("\nWhat to do:\n");
                advised = true;
            }
            text.push_str(&format!("  {}: {advice}\n", check.name));
        }
    }
    text
}
