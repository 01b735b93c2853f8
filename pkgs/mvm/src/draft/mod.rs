//! From the options of `create` and `run` to specs: everything is checked here, before anything is written.

mod environment;
mod host;
mod network;
mod project;

pub use host::HostLimits;
pub use network::NetworkArgs;
pub use project::Purpose;

use crate::units::parse_mib;
use anyhow::{Context as _, bail};
use clap::Args;
use mvm_host::realm::Realm;
use mvm_spec::latest::{Guest, Network, Persistence, Project, Resources, User};
use mvm_spec::{VmName, VmSpec};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Virtual CPUs of a VM, if nothing else is said.
const VCPU_DEFAULT: u32 = 2;

/// What `create` and `run` have in common.
#[derive(Args, Clone, Debug, Default)]
pub struct DraftArgs {
    /// The project: the directory that the VM gets a copy of, at /project [default: the current directory].
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub project: Option<PathBuf>,
    /// A VM without a project.
    #[arg(long, conflicts_with = "project")]
    pub no_project: bool,
    /// Virtual CPUs [default: 2].
    #[arg(long, value_name = "N")]
    pub vcpu: Option<u32>,
    /// Memory, in MiB or with a unit.
    #[arg(long, value_name = "SIZE", default_value = "512", value_parser = parse_mib)]
    pub mem: u64,
    /// A variable of every command in the VM; without a value, the one it has here. May be repeated.
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    #[command(flatten)]
    pub network: NetworkArgs,
    /// A kernel image other than the one found on the host.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
}

/// A draft: a spec without a name and without an address, and what its maker should be told.
#[derive(Debug)]
pub struct Draft {
    /// The spec, under a name made from the project's directory.
    pub spec: VmSpec,
    /// What is allowed but may not be meant.
    pub warnings: Vec<String>,
}

/// Checks `args` against the host and makes a draft of them.
pub fn draft(
    args: &DraftArgs,
    persistence: Persistence,
    purpose: Purpose,
    realm: &Realm,
    limits: &HostLimits,
) -> anyhow::Result<Draft> {
    let mut warnings = Vec::new();
    let project = if args.no_project {
        None
    } else {
        let found = project::find(args.project.as_deref(), purpose, &realm.state_dir)?;
        warnings.extend(found.warning);
        Some(found.path)
    };
    let resources = Resources { vcpu: args.vcpu.unwrap_or(VCPU_DEFAULT), mem_mib: args.mem };
    limits.check(&resources)?;
    let kernel = args.kernel.as_deref().map(kernel_image).transpose()?;
    let environment = environment(&args.env)?;
    let name = match &project {
        Some(path) => VmName::from_text(&path.file_name().unwrap_or_default().to_string_lossy()),
        None => VmName::from_text("vm"),
    };
    let user = user(project.as_deref())?;
    let network = match args.network.no_network {
        true => None,
        false => Some(Network {
            egress: args.network.egress(),
            peers: args.network.peers(),
            ..place(&name, realm)?
        }),
    };
    let spec = VmSpec {
        version: mvm_spec::latest::VERSION,
        resources,
        guest: Guest::Embedded { kernel },
        project: project.map(|path| Project { path }),
        user,
        network,
        forwards: Vec::new(),
        persistence,
        environment,
        ephemeral: false,
        name,
    };
    Ok(Draft { spec, warnings })
}

/// The draft under `name`, checked by the spec's own rules.
pub fn named(mut spec: VmSpec, name: VmName, realm: &Realm) -> anyhow::Result<VmSpec> {
    if let Some(Network { egress, peers, .. }) = spec.network {
        spec.network = Some(Network { egress, peers, ..place(&name, realm)? });
    }
    spec.name = name;
    let violations = spec.violations();
    if violations.is_empty() { Ok(spec) } else { Err(mvm_spec::SpecError::Invalid(violations).into()) }
}

/// A place of VM `name`. Which it gets is the store's to say, under its lock; until then the topology's first stands in,
/// which is valid by itself.
fn place(name: &VmName, realm: &Realm) -> anyhow::Result<Network> {
    Ok(realm.config.topology()?.place(name, &[])?)
}

/// The guest's user has the ids of the project's owner, so that files keep theirs. An ordinary user can stand for
/// nobody else: a project of somebody else's is worked on under the caller's own ids.
fn user(project: Option<&Path>) -> anyhow::Result<User> {
    let caller = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (uid, gid) = match project {
        None => caller,
        Some(path) => {
            let meta =
                std::fs::metadata(path).with_context(|| format!("can't examine {}", path.display()))?;
            if caller.0 == 0 || meta.uid() == caller.0 { (meta.uid(), meta.gid()) } else { caller }
        }
    };
    let name = if uid == 0 { "root" } else { "dev" };
    Ok(User { name: name.to_owned(), uid, gid })
}

fn kernel_image(path: &Path) -> anyhow::Result<PathBuf> {
    let full =
        path.canonicalize().with_context(|| format!("can't find the kernel image {}", path.display()))?;
    if !full.is_file() {
        bail!("{} is no kernel image: it is not a file", full.display());
    }
    std::fs::File::open(&full).with_context(|| {
        format!("can't read the kernel image {}; copy it to a place you may read", full.display())
    })?;
    Ok(full)
}

/// The variables of `--env` arguments, as [`DraftArgs::env`].
pub fn environment(args: &[String]) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    environment::parse(args, |name| std::env::var_os(name))
}

/// `NAME-SUFFIX`, with the name cut to what is possible.
pub fn suffixed(name: &VmName, suffix: &str) -> anyhow::Result<VmName> {
    let room = 62usize.saturating_sub(suffix.len());
    let base: String = name.as_str().chars().take(room).collect();
    Ok(VmName::new(format!("{}-{suffix}", base.trim_end_matches('-')))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suffix_always_fits() {
        let name = VmName::new("shop").unwrap();
        assert_eq!(suffixed(&name, "1f3a").unwrap().as_str(), "shop-1f3a");
        let long = VmName::new("a".repeat(63)).unwrap();
        assert_eq!(suffixed(&long, "1f3a").unwrap().as_str().len(), 63);
        let dashed = VmName::new(format!("{}-{}", "a".repeat(57), "b".repeat(5))).unwrap();
        assert!(!suffixed(&dashed, "1f3a").unwrap().as_str().contains("--"));
    }
}
