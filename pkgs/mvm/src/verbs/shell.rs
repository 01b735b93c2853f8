//! `mvm shell`.

use crate::context::{Context, block_on};
use crate::declared;
use crate::draft::{self, DraftArgs, HostLimits, Purpose};
use crate::exit::Outcome;
use crate::ssh::session::{self, Plan, What};
use crate::ssh::{self, Login, command};
use crate::units::parse_mib;
use anyhow::{Context as _, bail};
use mvm_host::client::How;
use mvm_spec::VmName;
use mvm_spec::latest::Persistence;
use std::ffi::OsString;
use std::io::IsTerminal;

/// Opens a terminal in a VM, and starts it first if need be.
///
/// Without a name: the VM whose project is the current directory or one above it; if there is none, one is made and
/// named after the directory. All keys, Ctrl-C included, go to the VM. Where there is no terminal, commands are read
/// from standard input.
///
/// Exit code: the shell's or command's own; 128+n if signal n ended it; 255 if mvm itself failed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm shell                           in the VM of the current directory
  mvm shell web
  mvm shell web --root
  mvm shell web -- htop               one command, on a terminal")]
pub struct Args {
    /// The VM.
    #[arg(value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    name: Option<VmName>,
    /// As root.
    #[arg(long)]
    root: bool,
    /// Start in the directory below /project that corresponds to the current one; make no VM.
    #[arg(long)]
    here: bool,
    /// The command to run instead of a shell, and its arguments.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Whether a session can have a terminal.
pub fn on_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

impl Args {
    /// Opens the terminal.
    pub fn run(self, context: &Context) -> Outcome {
        let name = match self.name {
            Some(name) => {
                context.expect_vm(&name)?;
                name
            }
            None => of_current_directory(context, self.here)?,
        };
        let dir = match self.here {
            true => Some(corresponding(context, &name)?),
            false => declared::start_dir(context, &name)?.map(OsString::from),
        };
        let what = match (self.command.as_slice(), dir.as_deref()) {
            ([], None) => What::Shell,
            ([], Some(dir)) => What::Command(command::shell(dir)?),
            (argv, dir) => What::Command(command::line(argv, dir)?),
        };
        let plan = Plan { what, terminal: on_terminal(), environment: Vec::new(), grace: None };
        block_on(async {
            if !crate::boot::ensure(context, &name, How::default()).await? {
                context.progress.note(&format!("started {name}; it goes on until mvm stop {name}"));
            }
            let handle = ssh::connect(context, &name, Login::from_root(self.root)).await?;
            session::run(&handle, &plan, session::standard_streams(true)).await
        })
    }
}

/// The directory in the VM that corresponds to the current one; /project for one outside of the project.
fn corresponding(context: &Context, name: &VmName) -> anyhow::Result<OsString> {
    let dir = std::env::current_dir().context("can't find the current directory")?;
    let spec = match declared::is_declared(context, name) {
        true => declared::spec(name)?,
        false => context.store.get(name)?.spec,
    };
    let below = spec.project.and_then(|project| Some(dir.strip_prefix(project.path).ok()?.to_owned()));
    let mount = std::path::Path::new(mvm_spec::latest::PROJECT_MOUNT);
    Ok(match below {
        Some(below) if !below.as_os_str().is_empty() => mount.join(below),
        _ => mount.to_owned(),
    }
    .into_os_string())
}

/// The VM of the current directory; made if there is none, or an error where `found_only`.
fn of_current_directory(context: &Context, found_only: bool) -> anyhow::Result<VmName> {
    let dir = std::env::current_dir().context("can't find the current directory")?;
    let names = crate::target::of_directory(context, &dir)?;
    match names.as_slice() {
        [name] => Ok(name.clone()),
        [] if found_only => bail!(
            "no VM works on {}; mvm-devenv makes one for a project, mvm create a plain one",
            dir.display()
        ),
        [] => create(context),
        several => {
            let list = several.iter().map(VmName::as_str).collect::<Vec<_>>().join(", ");
            bail!("several VMs work on this directory: {list}; name one: mvm shell {}", several[0])
        }
    }
}

/// A VM with the defaults of `mvm create`, under a free name.
fn create(context: &Context) -> anyhow::Result<VmName> {
    let args = DraftArgs { mem: parse_mib("512").map_err(anyhow::Error::msg)?, ..DraftArgs::default() };
    let persistence = Persistence { enable: false, home_mib: 4096 };
    let limits = HostLimits::read()?;
    let draft = draft::draft(&args, persistence, Purpose::Shell, &context.realm, &limits)?;
    context.realm.create_dirs()?;
    let topology = context.realm.config.topology()?;
    let base = draft.spec.name.clone();
    for number in 1..100 {
        let name = if number == 1 { base.clone() } else { draft::suffixed(&base, &number.to_string())? };
        let spec = draft::named(draft.spec.clone(), name.clone(), &context.realm)?;
        match context.store.create(vec![spec], topology.as_ref()) {
            Ok(_) => {
                context.progress.note(&format!("no VM works on this directory yet: made {name}"));
                return Ok(name);
            }
            Err(mvm_host::Error::NameTaken(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the names {base} to {base}-99 are all taken; mvm create NAME makes a VM under another")
}
