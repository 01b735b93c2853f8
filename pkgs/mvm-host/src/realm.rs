//! Realms: where VMs live, and which directories and settings they use.
//!
//! ```text
//! $XDG_STATE_HOME/microvm-dev/   state: one directory a VM (see `store`)       host realm: /var/lib/microvm-dev
//! $XDG_CACHE_HOME/microvm-dev/   initramfs images, probe results, kernels      host realm: /var/cache/microvm-dev
//! $XDG_RUNTIME_DIR/microvm-dev/ID/   keeper.sock, keeper.lock; ID from the state directory, so that each state
//!                                directory is a realm of its own               host realm: /run/microvm-dev/ID
//! $XDG_CONFIG_HOME/microvm-dev/config.toml, else /etc/microvm-dev/config.toml
//! ```

use crate::net::topology::{BridgePerVm, SharedBridge, Topology, present_networks};
use crate::{Error, Result};
use mvm_spec::net::Cidr;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The two kinds of realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RealmKind {
    /// Namespaces of one's own: needs no privilege, touches nothing of the host.
    User,
    /// The host's own namespaces: needs root, what the NixOS modules set up.
    Host,
}

/// How guests are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// KVM if a probe boot succeeds, else TCG.
    #[default]
    Auto,
    /// KVM, or fail.
    Kvm,
    /// Emulation.
    Tcg,
}

/// How VMs are wired up (see [`crate::net::topology`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopologyKind {
    /// One bridge for all.
    #[default]
    SharedBridge,
    /// A bridge and a network for each.
    BridgePerVm,
}

/// Settings of `config.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Config {
    /// Realm used when `--realm` is not given.
    pub realm: Option<RealmKind>,
    /// How VMs are wired up.
    pub topology: TopologyKind,
    /// Name of the shared bridge.
    pub bridge: String,
    /// The shared bridge's address and subnet.
    pub subnet: Cidr,
    /// What networks of bridges for one VM are taken from.
    pub subnets: Cidr,
    /// Acceleration.
    pub accel: Accel,
    /// Kernel image of embedded guests, if not the one found.
    pub kernel: Option<PathBuf>,
    /// Name servers that guests use; by default those of the host.
    pub dns: Vec<Ipv4Addr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            realm: None,
            topology: TopologyKind::default(),
            bridge: "virbr-mvm".to_owned(),
            subnet: Cidr { address: Ipv4Addr::new(192, 168, 100, 1), prefix: 24 },
            subnets: Cidr { address: Ipv4Addr::new(10, 0, 0, 0), prefix: 8 },
            accel: Accel::Auto,
            kernel: None,
            dns: Vec::new(),
        }
    }
}

impl Config {
    /// The topology that the settings ask for. Errors: settings that can't work, by name.
    pub fn topology(&self) -> Result<Box<dyn Topology>> {
        let topology: Box<dyn Topology> = match self.topology {
            TopologyKind::SharedBridge => {
                Box::new(SharedBridge { bridge: self.bridge.clone(), address: self.subnet })
            }
            TopologyKind::BridgePerVm => {
                Box::new(BridgePerVm { pool: self.subnets, busy: present_networks() })
            }
        };
        topology.check()?;
        Ok(topology)
    }
}

/// A realm: its kind, directories and settings.
#[derive(Clone, Debug)]
pub struct Realm {
    /// Its kind.
    pub kind: RealmKind,
    /// Directory of the VMs' directories.
    pub state_dir: PathBuf,
    /// Directory of what can be made again.
    pub cache_dir: PathBuf,
    /// Directory of the keeper's socket and lock; private to the user.
    pub run_dir: PathBuf,
    /// Settings.
    pub config: Config,
}

impl Realm {
    /// The realm that arguments, environment and `config.toml` ask for.
    ///
    /// `MVM_REALM`, `MVM_STATE_DIR`, `MVM_CACHE_DIR`, `MVM_RUNTIME_DIR`, `MVM_KERNEL` and `MVM_ACCEL` override the
    /// file; `kind` overrides `MVM_REALM`; `MVM_KERNEL_DEFAULT`, which a package sets, is for where neither says anything.
    /// Creates no directory.
    pub fn resolve(kind: Option<RealmKind>) -> Result<Self> {
        let mut config = read_config()?;
        config.kernel = kernel(env_path, config.kernel);
        if let Some(accel) = env_text("MVM_ACCEL") {
            config.accel = match accel.as_str() {
                "auto" => Accel::Auto,
                "kvm" => Accel::Kvm,
                "tcg" => Accel::Tcg,
                other => return Err(Error::Failed(format!("MVM_ACCEL is `{other}`; use auto, kvm or tcg"))),
            };
        }
        let from_env = match env_text("MVM_REALM").as_deref() {
            None => None,
            Some("user") => Some(RealmKind::User),
            Some("host") => Some(RealmKind::Host),
            Some(other) => {
                return Err(Error::Failed(format!("MVM_REALM is `{other}`; use user or host")));
            }
        };
        let kind = kind.or(from_env).or(config.realm).unwrap_or(RealmKind::User);
        let uid = nix::unistd::geteuid();
        if kind == RealmKind::Host && !uid.is_root() {
            return Err(Error::Failed(
                "the host realm needs root: run `sudo mvm --realm host …`, or leave the option out to use a realm of \
                 your own, which needs no privilege"
                    .to_owned(),
            ));
        }
        let home = || {
            env_path("HOME")
                .or_else(|| nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.dir))
                .ok_or_else(|| {
                    Error::Failed("HOME is not set; set it, or MVM_STATE_DIR and MVM_CACHE_DIR".to_owned())
                })
        };
        let state_dir = match (env_path("MVM_STATE_DIR"), kind) {
            (Some(dir), _) => dir,
            (None, RealmKind::Host) => PathBuf::from("/var/lib/microvm-dev"),
            (None, RealmKind::User) => match env_path("XDG_STATE_HOME") {
                Some(dir) => dir.join("microvm-dev"),
                None => home()?.join(".local/state/microvm-dev"),
            },
        };
        let cache_dir = match (env_path("MVM_CACHE_DIR"), kind) {
            (Some(dir), _) => dir,
            (None, RealmKind::Host) => PathBuf::from("/var/cache/microvm-dev"),
            (None, RealmKind::User) => match env_path("XDG_CACHE_HOME") {
                Some(dir) => dir.join("microvm-dev"),
                None => home()?.join(".cache/microvm-dev"),
            },
        };
        // The socket's path must stay short (108 bytes, unix(7)), whatever the state directory's is.
        let id = hex::encode(&Sha256::digest(state_dir.as_os_str().as_bytes())[..6]);
        let run_dir = match (env_path("MVM_RUNTIME_DIR"), env_path("XDG_RUNTIME_DIR"), kind) {
            (Some(dir), _, _) => dir,
            (None, _, RealmKind::Host) => PathBuf::from("/run/microvm-dev"),
            (None, Some(dir), _) if owned_by(&dir, uid.as_raw()) => dir.join("microvm-dev"),
            (None, _, _) => PathBuf::from(format!("/tmp/microvm-dev-{uid}")),
        }
        .join(id);
        Ok(Self { kind, state_dir, cache_dir, run_dir, config })
    }

    /// Creates the realm's directories, private to the user, and checks that nobody else owns them.
    pub fn create_dirs(&self) -> Result<()> {
        for dir in [&self.state_dir, &self.cache_dir, &self.run_dir] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(Error::io("create the directory", dir))?;
        }
        // Below /tmp somebody else could have made the directory first.
        for dir in self.run_dir.parent().into_iter().chain([self.run_dir.as_path()]) {
            if !owned_by(dir, nix::unistd::geteuid().as_raw()) {
                return Err(Error::Failed(format!(
                    "{} belongs to another user; remove it, or set XDG_RUNTIME_DIR",
                    dir.display()
                )));
            }
        }
        Ok(())
    }

    /// The keeper's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("keeper.sock")
    }

    /// The file whose lock the keeper holds while it lives.
    pub fn keeper_lock(&self) -> PathBuf {
        self.run_dir.join("keeper.lock")
    }

    /// The socket of the proxy of port forwards.
    pub fn ports_socket(&self) -> PathBuf {
        self.run_dir.join("ports.sock")
    }

    /// What the keeper writes about itself.
    pub fn keeper_log(&self) -> PathBuf {
        self.run_dir.join("keeper.log")
    }
}

fn owned_by(dir: &Path, uid: u32) -> bool {
    std::fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}

fn env_text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// XDG Base Directory Specification: relative paths are to be ignored.
fn env_path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The kernel that the environment or config.toml asks for: a package's default gives way to the user's settings, these to
/// what is asked for at the moment.
fn kernel(env: impl Fn(&str) -> Option<PathBuf>, config: Option<PathBuf>) -> Option<PathBuf> {
    env("MVM_KERNEL").or(config).or_else(|| env("MVM_KERNEL_DEFAULT"))
}

fn read_config() -> Result<Config> {
    let user = env_path("XDG_CONFIG_HOME")
        .or_else(|| env_path("HOME").map(|home| home.join(".config")))
        .map(|dir| dir.join("microvm-dev/config.toml"));
    for path in user.into_iter().chain([PathBuf::from("/etc/microvm-dev/config.toml")]) {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                return toml::from_str(&text).map_err(|error| {
                    Error::Failed(format!("{}: {}", path.display(), error.to_string().trim_end()))
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", &path)(error)),
        }
    }
    Ok(Config::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packages_kernel_gives_way_to_settings_and_these_to_the_environment() {
        let config: Config = toml::from_str("kernel = '/config'").unwrap();
        let chosen = |set: &[&str], config: Option<PathBuf>| {
            kernel(|name| set.contains(&name).then(|| PathBuf::from(format!("/{name}"))), config)
        };
        let (all, default) = (["MVM_KERNEL", "MVM_KERNEL_DEFAULT"], ["MVM_KERNEL_DEFAULT"]);
        assert_eq!(chosen(&all, config.kernel.clone()), Some("/MVM_KERNEL".into()));
        assert_eq!(chosen(&all, None), Some("/MVM_KERNEL".into()));
        assert_eq!(chosen(&default, config.kernel.clone()), Some("/config".into()));
        assert_eq!(chosen(&default, None), Some("/MVM_KERNEL_DEFAULT".into()));
        assert_eq!(chosen(&[], config.kernel), Some("/config".into()));
        assert_eq!(chosen(&[], None), None);
    }
}
