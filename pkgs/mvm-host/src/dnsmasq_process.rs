//! The process that becomes dnsmasq: `mvm internal dnsmasq CONFIG` builds a view with the host's software and the
//! instance's own directories, gives up every privilege but those the instance needs, and executes it.
//!
//! It reads what guests send. So it sees no other file, writes to its own directory only, is alone in its process
//! namespace (its parent made that), and stays in the network namespace it is started in, which it serves.

use crate::net::dnsmasq::config::{CONF_DIR, CONF_FILE, HOSTS_DIR, RUN_DIR};
use crate::sandbox::mount::{Access, Detached};
use crate::sandbox::view::{self, Software, View};
use crate::sandbox::{limits::Limits, privileges};
use crate::{Error, Result};
use caps::Capability;
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// Bytes of files of its own that the view may hold.
const VIEW_SIZE: u64 = 1 << 20;
/// It takes some 20 MiB; a cache of 10,000 names adds few.
const LIMITS: Limits = Limits { files: 4096, address_space: 1 << 30 };

/// What an instance does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// DNS and DHCP on a bridge.
    Bridge,
    /// DNS for a restricted VM.
    Resolver,
}

impl Role {
    /// What it is allowed to do.
    pub fn capabilities(self) -> &'static [Capability] {
        match self {
            // Ports 53 and 67; an ARP entry for a guest that is about to get its address, without which dnsmasq does
            // not do DHCP at all.
            Self::Bridge => &[Capability::CAP_NET_BIND_SERVICE, Capability::CAP_NET_ADMIN],
            // Elements of an nft set.
            Self::Resolver => &[Capability::CAP_NET_ADMIN],
        }
    }
}

/// What to execute, and what it may see; the argument of the process, in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsmasqConfig {
    /// dnsmasq, by its real path.
    pub program: PathBuf,
    /// Its configuration, put at [`CONF_DIR`].
    pub conf: PathBuf,
    /// The directory that it may write to, put at [`RUN_DIR`].
    pub run: PathBuf,
    /// Names of VMs, put at [`HOSTS_DIR`].
    pub hosts: PathBuf,
    /// What it does.
    pub role: Role,
    /// User that it becomes.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// The process.
pub fn main(config: &str) -> Result<()> {
    let config: DnsmasqConfig = serde_json::from_str(config)
        .map_err(|error| Error::Failed(format!("dnsmasq's process: bad config: {error}")))?;
    view::unshare_but_network()?;
    build_view(&config)?.enter()?;
    LIMITS.apply()?;
    privileges::keep_only(Uid::from_raw(config.uid), Gid::from_raw(config.gid), config.role.capabilities())?;
    let error = std::process::Command::new(&config.program)
        .arg(format!("--conf-file={CONF_DIR}/{CONF_FILE}"))
        .env_clear()
        .exec();
    Err(Error::io("execute", &config.program)(error))
}

fn build_view(config: &DnsmasqConfig) -> Result<View> {
    let software = Software::of_host(Path::new("/"));
    let trees = software.pick_up()?;
    let dirs = [
        (CONF_DIR, Detached::tree(&config.conf, Access::Read)?),
        (RUN_DIR, Detached::tree(&config.run, Access::Write)?),
        (HOSTS_DIR, Detached::tree(&config.hosts, Access::Read)?),
    ];
    let mut files = Vec::new();
    let cache = "/etc/ld.so.cache";
    if Path::new(cache).is_file() {
        files.push((cache, Detached::tree(Path::new(cache), Access::Read)?));
    }
    for device in ["/dev/null", "/dev/urandom"] {
        files.push((device, Detached::tree(Path::new(device), Access::Device)?));
    }
    // A build of one's own, outside the shared directories, is brought in by itself.
    let program = (!software.dirs.iter().any(|dir| config.program.starts_with(dir)))
        .then(|| Detached::tree(&config.program, Access::Read))
        .transpose()?;

    let view = View::new(VIEW_SIZE)?;
    software.put(&view, "", trees)?;
    for (place, dir) in dirs {
        view.mount_dir(place, dir)?;
    }
    for (place, file) in files {
        view.mount_file(place, file)?;
    }
    if let (Some(program), Some(place)) = (program, config.program.to_str()) {
        view.mount_file(place, program)?;
    }
    Ok(view)
}
