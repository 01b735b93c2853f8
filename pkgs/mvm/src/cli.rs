//! The command line: global options and the list of verbs.

use crate::context::Context;
use crate::exit::Outcome;
use crate::output::Color;
use crate::verbs;
use clap::{Args, Parser, Subcommand, ValueEnum};
use mvm_host::realm::RealmKind;

/// Isolated, disposable development machines for a project directory.
///
/// Each machine is a small virtual machine of its own that works on a copy of your project, made on write: whatever
/// happens in it, the directory on this host stays as it is.
#[derive(Parser)]
#[command(
    name = "mvm",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = false,
    after_help = "Examples:
  mvm run -- make test          run one command in a machine that is gone afterwards
  mvm create web && mvm start web
  mvm shell web                 a terminal in it
  mvm exec web -- git status    a command in it; its exit code is mvm's
  mvm doctor                    what this host has, and what is missing

Exit codes: 0 success, 1 failure, 2 wrong usage. `run`, `exec` and `shell` pass the command's own exit code on: 128+n
if signal n ended it, 255 if mvm itself failed.

Environment: MVM_REALM, MVM_STATE_DIR, MVM_CACHE_DIR, MVM_RUNTIME_DIR, MVM_KERNEL, MVM_ACCEL (auto, kvm, tcg), NO_COLOR."
)]
pub struct Cli {
    /// Options of all verbs.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    verb: Verb,
}

/// Options of all verbs.
#[derive(Args)]
pub struct Global {
    /// Where VMs live: namespaces of your own (user), or the host's (host, needs root).
    #[arg(long, global = true, value_name = "REALM", help_heading = "Global options")]
    pub realm: Option<RealmArg>,
    /// Show each step; after a start, where the time went.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub verbose: u8,
    /// Show no progress and no notes; `list` prints names only.
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Global options")]
    pub quiet: bool,
    /// When to use colours.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = "Global options")]
    pub color: Color,
}

/// A realm, as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RealmArg {
    /// Namespaces of one's own.
    User,
    /// The host's namespaces.
    Host,
}

impl From<RealmArg> for RealmKind {
    fn from(realm: RealmArg) -> Self {
        match realm {
            RealmArg::User => Self::User,
            RealmArg::Host => Self::Host,
        }
    }
}

#[derive(Subcommand)]
enum Verb {
    Create(verbs::create::Args),
    Start(verbs::start::Args),
    Stop(verbs::stop::Args),
    Restart(verbs::restart::Args),
    Shell(verbs::shell::Args),
    Exec(verbs::exec::Args),
    Run(verbs::run::Args),
    List(verbs::list::Args),
    Status(verbs::status::Args),
    Port(verbs::port::Args),
    Logs(verbs::logs::Args),
    Workload(verbs::workload::Args),
    Cp(verbs::cp::Args),
    Delete(verbs::delete::Args),
    SshConfig(verbs::ssh_config::Args),
    Cache(verbs::cache::Args),
    Doctor(verbs::doctor::Args),
    Completions(verbs::completions::Args),
    ShellInit(verbs::shell_init::Args),
    Envrc(verbs::envrc::Args),
    #[command(hide = true)]
    Project(verbs::project::Args),
    #[command(hide = true)]
    SshProxy(verbs::ssh_proxy::Args),
    #[command(hide = true)]
    Man(verbs::man::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Outcome {
        let global = self.global;
        let context = || Context::new(&global);
        match self.verb {
            Verb::Create(args) => args.run(&context()?),
            Verb::Start(args) => args.run(&context()?),
            Verb::Stop(args) => args.run(&context()?),
            Verb::Restart(args) => args.run(&context()?),
            Verb::Shell(args) => {
                crate::exit::command_outcome(context().and_then(|context| args.run(&context)))
            }
            Verb::Exec(args) => {
                crate::exit::command_outcome(context().and_then(|context| args.run(&context)))
            }
            Verb::Run(args) => crate::exit::command_outcome(context().and_then(|context| args.run(&context))),
            Verb::List(args) => args.run(&context()?, global.quiet),
            Verb::Status(args) => args.run(&context()?),
            Verb::Port(args) => args.run(&context()?),
            Verb::Logs(args) => args.run(&context()?),
            Verb::Workload(args) => args.run(&context()?),
            Verb::Cp(args) => args.run(&context()?),
            Verb::Delete(args) => args.run(&context()?),
            Verb::SshConfig(args) => args.run(&context()?),
            Verb::Cache(args) => args.run(&context()?),
            Verb::Doctor(args) => args.run(&context()?),
            Verb::Completions(args) => args.run(),
            Verb::ShellInit(args) => args.run(),
            Verb::Envrc(args) => args.run(),
            Verb::Project(args) => args.run(&context()?),
            Verb::SshProxy(args) => args.run(&context()?),
            Verb::Man(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_verb_has_examples() {
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{} has none", verb.get_name());
            assert!(verb.get_about().is_some(), "{} has no description", verb.get_name());
        }
    }
}
