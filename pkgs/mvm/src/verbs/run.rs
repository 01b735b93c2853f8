//! `mvm run`.

use super::shell::on_terminal;
use super::stop;
use crate::boot::BootArgs;
use crate::context::{Context, block_on};
use crate::draft::{self, DraftArgs, HostLimits, Purpose};
use crate::exit::{Exit, Outcome};
use crate::ssh::session::{self, Plan, What};
use crate::ssh::{self, Endings, Login, command};
use crate::units::count;
use anyhow::{Context as _, bail};
use mvm_host::client::{self, Connection, How};
use mvm_host::overlay::{ChangeKind, Changes};
use mvm_ports::change;
use mvm_spec::forward::ForwardRequest;
use mvm_spec::latest::Persistence;
use mvm_spec::{VmName, VmSpec};
use std::ffi::OsString;
use std::time::{Duration, Instant};

/// How long a command may take to end after `mvm run` was told to.
const GRACE: Duration = Duration::from_secs(5);
/// How long the keeper may take to remove a VM.
const REMOVAL: Duration = Duration::from_secs(10);

/// Runs one command in a new VM that is gone afterwards.
///
/// The VM works on a copy of the current directory, or of --project DIR; what the command changes there is gone with the
/// VM, however it ends. Standard input, output and error, signals and the terminal are passed on as by `mvm exec`.
///
/// Exit code: the command's own; 128+n if signal n ended it; 255 if mvm itself failed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm run -- make test
  mvm run --mem 2G --vcpu 4 -- cargo test
  mvm run --no-network -- ./untrusted.sh
  mvm run --project ~/src/shop --env CI=1 -- npm test
  mvm run -p 8080:3000 -- npm start   a port of this host that leads into it
  mvm run --allow pypi.org --allow files.pythonhosted.org -- pip install requests
  mvm run --keep -- make              leaves the VM running, to look around: mvm shell")]
pub struct Args {
    #[command(flatten)]
    draft: DraftArgs,
    /// As root.
    #[arg(long)]
    root: bool,
    /// Leave the VM running afterwards.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    boot: BootArgs,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Args {
    /// Makes the VM, runs the command, removes the VM.
    pub fn run(self, context: &Context) -> Outcome {
        let plan = Plan {
            what: What::Command(command::line(&self.command, None)?),
            terminal: on_terminal(),
            environment: Vec::new(),
            grace: Some(GRACE),
        };
        let limits = HostLimits::read()?;
        let persistence = Persistence { enable: false, home_mib: 4096 };
        let draft = draft::draft(&self.draft, persistence, Purpose::Run, &context.realm, &limits)?;
        let network = &self.draft.network;
        for warning in draft.warnings.iter().chain(&network.warnings(|peer| context.store.contains(peer))) {
            context.progress.warn(warning);
        }
        context.realm.create_dirs()?;
        block_on(async {
            // From here on no signal ends this process before the VM is gone.
            let mut endings = Endings::new().context("can't handle signals")?;
            let spec = VmSpec { ephemeral: !self.keep, ..draft.spec };
            let begun = Instant::now();
            let name = create(context, &spec, &network.port).await?;
            context.progress.took(&format!("making of {name}"), begun.elapsed());
            let mut lease = None;
            let login = Login::from_root(self.root);
            let how = How { lease: !self.keep, cold: self.boot.cold };
            let work = work(context, &name, &plan, login, how, &mut lease, &mut endings);
            let outcome = work.await;
            if self.keep {
                context
                    .progress
                    .note(&format!("{name} goes on: mvm shell {name}; mvm delete --force {name}"));
                return outcome;
            }
            let changes = outcome.is_ok().then(|| stop::changes(context, &name).unwrap_or_default());
            let begun = Instant::now();
            let removed = remove(context, &name, lease).await;
            context.progress.took(&format!("removal of {name}"), begun.elapsed());
            if let Some(note) = changes.as_ref().and_then(lost) {
                context.progress.note(&note);
            }
            let exit = outcome?;
            removed?;
            Ok(exit)
        })
    }
}

/// A VM named after the project, and not like any other.
async fn create(context: &Context, spec: &VmSpec, requests: &[ForwardRequest]) -> anyhow::Result<VmName> {
    for _ in 0..20 {
        let name = draft::suffixed(&spec.name, &format!("{:04x}", random()?))?;
        let spec = draft::named(spec.clone(), name.clone(), &context.realm)?;
        let drafts = vec![change::Draft { spec, requests: requests.to_vec(), workload: None }];
        match change::create(&context.realm, &context.store, drafts).await {
            Ok(made) => {
                for change::Made { spec, forwards } in &made {
                    super::port::note(context, &spec.name, forwards);
                }
                return Ok(name);
            }
            Err(mvm_ports::Error::Host(mvm_host::Error::NameTaken(_))) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("no free name found for a VM of {}; `mvm list` shows which there are", spec.name)
}

fn random() -> anyhow::Result<u16> {
    let mut bytes = [0; 2];
    let mut source = std::fs::File::open("/dev/urandom").context("can't open /dev/urandom")?;
    std::io::Read::read_exact(&mut source, &mut bytes).context("can't read /dev/urandom")?;
    Ok(u16::from_ne_bytes(bytes))
}

/// Boots the VM and runs the command.
async fn work(
    context: &Context,
    name: &VmName,
    plan: &Plan,
    login: Login,
    how: How,
    lease: &mut Option<Connection>,
    endings: &mut Endings,
) -> Outcome {
    let handle = tokio::select! {
        handle = async {
            let started = crate::boot::start(context, name, how).await?;
            *lease = Some(started.lease);
            ssh::connect(context, name, login).await
        } => handle?,
        arrived = endings.next() => {
            context.progress.done();
            return Ok(Exit::signal(arrived.number));
        }
    };
    session::run(&handle, plan, session::standard_streams(true)).await
}

/// Ends the lease and waits until the keeper has removed the VM; removes it here if no keeper does.
async fn remove(context: &Context, name: &VmName, lease: Option<Connection>) -> anyhow::Result<()> {
    let started = lease.is_some();
    drop(lease);
    context.progress.step(&format!("removing {name}"));
    let gone = async {
        while context.store.contains(name) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = if started { tokio::time::timeout(REMOVAL, gone).await.is_ok() } else { false };
    let result = if waited { Ok(()) } else { remove_here(context, name).await };
    context.progress.done();
    result
}

async fn remove_here(context: &Context, name: &VmName) -> anyhow::Result<()> {
    client::stop(&context.realm, name, true, Duration::ZERO, &mut |_| {}).await?;
    match context.store.delete(name) {
        Ok(()) | Err(mvm_host::Error::NoSuchVm(_)) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("can't remove the VM {name}")),
    }
}

/// What was lost with the VM, in one line; `None` if nothing.
fn lost(changes: &Changes) -> Option<String> {
    if changes.is_empty() {
        return None;
    }
    let kinds =
        [(ChangeKind::Added, "added"), (ChangeKind::Modified, "changed"), (ChangeKind::Deleted, "deleted")]
            .into_iter()
            .filter_map(|(kind, verb)| match changes.count(kind) {
                0 => None,
                number => Some(format!("{number} {verb}")),
            })
            .collect::<Vec<_>>()
            .join(", ");
    let more = if changes.truncated { "more than " } else { "" };
    let files = count(changes.list.len() as u64, "file");
    Some(format!("the project's copy is gone, with {more}{files} of it: {kinds}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mvm_host::overlay::Change;

    #[test]
    fn what_was_lost_is_told_in_one_line() {
        assert_eq!(lost(&Changes::default()), None);
        let list = [ChangeKind::Added, ChangeKind::Added, ChangeKind::Deleted]
            .map(|kind| Change { path: "x".into(), kind })
            .to_vec();
        assert_eq!(
            lost(&Changes { list, truncated: false }).unwrap(),
            "the project's copy is gone, with 3 files of it: 2 added, 1 deleted"
        );
    }
}
