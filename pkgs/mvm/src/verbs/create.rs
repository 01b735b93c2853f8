//! `mvm create`.

use crate::boot;
use crate::context::{Context, block_on};
use crate::declared;
use crate::draft::{self, DraftArgs, HostLimits, Purpose};
use crate::exit::{Exit, Outcome};
use crate::units::parse_mib;
use anyhow::bail;
use mvm_host::client::How;
use mvm_ports::change::{self, Draft, Made};
use mvm_spec::forward::ForwardRequest;
use mvm_spec::latest::Persistence;
use mvm_spec::{VmName, VmSpec};
use std::path::PathBuf;

/// Makes a VM, or several alike, without starting it.
///
/// The VM works on a copy, made on write, of a project: the current directory if no other is named. Nothing is copied
/// now, and the directory is never changed.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mvm create                          named after the current directory, which is its project
  mvm create web --project ~/src/shop --mem 2G --vcpu 4
  mvm create ci --copies 3            ci-1, ci-2 and ci-3: all of them or none
  mvm create db --persist --home-size 20G --start
  mvm create probe --no-project --no-network --env TOKEN
  mvm create web -p 8080:3000 -p 0:5432         ports of this host that lead into it
  mvm create web --workload web.json --start    with processes that run in it by themselves
  mvm create app --peer db --allow deb.debian.org --allow 10.1.2.0/24")]
pub struct Args {
    /// The VM's name: a-z, 0-9 and `-`, at most 63 characters [default: made from the project's directory].
    #[arg(value_parser = crate::target::parse_name)]
    name: Option<VmName>,
    #[command(flatten)]
    draft: DraftArgs,
    /// Keep the project's changes and a home disk when the VM stops.
    #[arg(long)]
    persist: bool,
    /// Size of the home disk, in MiB or with a unit; it takes only the space that is used.
    #[arg(long, value_name = "SIZE", value_parser = parse_mib, requires = "persist", default_value = "4G")]
    home_size: u64,
    /// What runs in it by itself (`mvm workload`): a JSON file, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// Make NAME-1 to NAME-N.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    copies: Option<u32>,
    /// Start it as well.
    #[arg(long)]
    start: bool,
    /// With --start, boot it, instead of making it from a booted template.
    #[arg(long, requires = "start")]
    cold: bool,
    /// Print what was made as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Makes the VMs.
    pub fn run(self, context: &Context) -> Outcome {
        let workload = self.workload.as_deref().map(crate::workload_file::read).transpose()?;
        let persistence = Persistence { enable: self.persist, home_mib: self.home_size };
        let limits = HostLimits::read()?;
        let draft::Draft { spec, warnings } =
            draft::draft(&self.draft, persistence, Purpose::Create, &context.realm, &limits)?;
        let name = self.name.clone().unwrap_or_else(|| spec.name.clone());
        let network = &self.draft.network;
        check_ports(&network.port, self.copies)?;
        let drafts = copies(&spec, &name, self.copies, context)?;
        let exists =
            |peer: &VmName| context.store.contains(peer) || drafts.iter().any(|draft| draft.name == *peer);
        for warning in warnings.into_iter().chain(network.warnings(exists)) {
            context.progress.warn(&warning);
        }
        context.realm.create_dirs()?;
        let drafts = drafts.into_iter().map(|spec| {
            let (requests, workload) = (network.port.clone(), workload.clone());
            Draft { spec, requests, workload }
        });
        let drafts: Vec<Draft> = drafts.collect();
        let made = block_on(async {
            let made = change::create(&context.realm, &context.store, drafts).await?;
            if self.json {
                crate::output::print_json(&made.iter().map(shown).collect::<Vec<_>>())?;
            }
            if self.start {
                // Before the boot: who sees where to look has something to wait for.
                for Made { spec, forwards } in &made {
                    super::port::note(context, &spec.name, forwards);
                }
                let names: Vec<VmName> = made.iter().map(|made| made.spec.name.clone()).collect();
                let how = How { lease: false, cold: self.cold };
                let started = boot::ensure_all(context, &names, how).await;
                started.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
            }
            Ok(made)
        })?;
        for Made { spec, forwards } in &made {
            context.progress.note(&made_note(spec, self.start));
            if !self.start {
                super::port::note(context, &spec.name, forwards);
            }
        }
        Ok(Exit::SUCCESS)
    }
}

/// The specs of VM `name`, or of its copies.
fn copies(
    spec: &VmSpec,
    name: &VmName,
    copies: Option<u32>,
    context: &Context,
) -> anyhow::Result<Vec<VmSpec>> {
    let names = match copies {
        None => vec![name.clone()],
        Some(copies) => (1..=copies).map(|index| name.copy(index)).collect::<Result<_, _>>()?,
    };
    if let Some(taken) = names.iter().find(|name| context.store.contains(name)) {
        bail!(mvm_host::Error::NameTaken(taken.clone()));
    }
    if let Some(taken) = names.iter().find(|name| declared::is_declared(context, name)) {
        bail!("VM `{taken}` is declared on this host ({}); take another name", declared::place(taken));
    }
    let drafts = names.into_iter().map(|name| {
        let mut spec = spec.clone();
        if let (Some(_), Some(network)) = (copies, &mut spec.network) {
            // Copies may be each other's peers.
            network.peers.retain(|peer| *peer != name);
        }
        draft::named(spec, name, &context.realm)
    });
    drafts.collect()
}

/// Copies can't share a port of the host.
fn check_ports(requests: &[ForwardRequest], copies: Option<u32>) -> anyhow::Result<()> {
    let fixed = requests.iter().flat_map(ForwardRequest::forwards).find(|forward| forward.host != 0);
    if let (Some(copies @ 2..), Some(forward)) = (copies, fixed) {
        let any = mvm_spec::forward::Forward { host: 0, ..forward.clone() };
        bail!(
            "--port {forward} with --copies {copies}: a port of the host leads to one VM alone; write {any}, and each \
             copy gets a free one"
        );
    }
    Ok(())
}

/// The spec with all forwards, those that can be removed again, too.
fn shown(Made { spec, forwards }: &Made) -> VmSpec {
    VmSpec { forwards: forwards.clone(), ..spec.clone() }
}

fn made_note(spec: &VmSpec, started: bool) -> String {
    let VmSpec { name, project, .. } = spec;
    let project = match project {
        Some(project) => format!("with a copy of {}", project.path.display()),
        None => "without a project".to_owned(),
    };
    let next = if started { "mvm shell" } else { "mvm start" };
    format!("made {name} {project}; next: {next} {name}")
}
