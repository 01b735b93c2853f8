//! `mvm completions`.

use crate::exit::{Exit, Outcome};
use crate::output;
use anyhow::Context as _;
use clap::ValueEnum;
use clap_complete::env::Shells;

/// Prints the code that makes a shell complete mvm's verbs, options and the names of VMs.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  source <(mvm completions bash)      in ~/.bashrc
  source <(mvm completions zsh)       in ~/.zshrc, after compinit
  mvm completions fish | source       in ~/.config/fish/config.fish
  eval (mvm completions elvish | slurp)")]
pub struct Args {
    /// The shell.
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    Powershell,
}

impl Args {
    /// Prints the code.
    pub fn run(self) -> Outcome {
        let name = match self.shell {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
            Shell::Elvish => "elvish",
            Shell::Powershell => "powershell",
        };
        let shells = Shells::builtins();
        let completer = shells.completer(name).with_context(|| format!("no completions for {name}"))?;
        let program = std::env::current_exe().context("can't find this program's own path")?;
        let program = program.to_str().context("this program's own path is no UTF-8 text")?;
        let mut code = Vec::new();
        completer.write_registration("COMPLETE", "mvm", "mvm", program, &mut code)?;
        output::print(code)?;
        Ok(Exit::SUCCESS)
    }
}
