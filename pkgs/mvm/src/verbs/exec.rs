//! `mvm exec`.

use crate::context::{Context, block_on};
use crate::declared;
use crate::exit::Outcome;
use crate::ssh::session::{self, Plan, What};
use crate::ssh::{self, Login, command};
use mvm_spec::VmName;
use std::ffi::OsString;

/// Runs a command in a running VM.
///
/// Standard input, output and error are passed on, each by itself; signals, too, and a second Ctrl-C within two seconds
/// ends mvm. The command starts in /project, or in the user's home if there is no project.
///
/// Exit code: the command's own; 128+n if signal n ended it; 255 if mvm itself failed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm exec web -- make test
  mvm exec web -- sh -c 'cd src && ls'
  tar c data | mvm exec web -- tar x
  mvm exec web --root -t -- top")]
pub struct Args {
    /// The VM.
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    name: VmName,
    /// As root.
    #[arg(long)]
    root: bool,
    /// On a terminal of its own.
    #[arg(long, short)]
    tty: bool,
    /// Without standard input: for loops that read their own.
    #[arg(long, short, conflicts_with = "tty")]
    no_stdin: bool,
    /// A variable of the command; without a value, the one it has here. May be repeated.
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Where to run it.
    #[arg(long, short, value_name = "DIR")]
    workdir: Option<OsString>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    /// Runs the command.
    pub fn run(self, context: &Context) -> Outcome {
        if self.tty && !super::shell::on_terminal() {
            anyhow::bail!("--tty needs a terminal at standard input and output");
        }
        let environment = crate::draft::environment(&self.env)?;
        let dir = match &self.workdir {
            Some(dir) => Some(dir.as_os_str()),
            None => declared::start_dir(context, &self.name)?,
        };
        let plan = Plan {
            what: What::Command(command::line(&self.command, dir)?),
            terminal: self.tty,
            environment: environment.into_iter().collect(),
            grace: None,
        };
        block_on(async {
            let handle = ssh::connect(context, &self.name, Login::from_root(self.root)).await?;
            session::run(&handle, &plan, session::standard_streams(!self.no_stdin)).await
        })
    }
}
