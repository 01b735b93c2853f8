//! The file server: one process a VM that serves the host's software (read-only) and the project (copied on write)
//! to the guest, by virtiofs.
//!
//! The keeper starts it as `mvm internal fs CONFIG` with one listening vhost-user socket a share. It builds a view
//! (see [`crate::sandbox`]) with the guest's root tree at `/software` and the merged overlay at `/project`, gives up
//! every privilege, and serves. When the VMM has closed all connections, it ends, and with it its mounts.

pub mod etc;
mod serve;
mod tree;

pub use serve::guest_files;

use crate::sandbox::{limits::Limits, privileges, view};
use crate::{Error, Result};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};
use std::os::fd::RawFd;
use std::path::PathBuf;

/// What to serve; the argument of the process, in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FsConfig {
    /// Listening socket for the guest's root tree.
    pub software_fd: RawFd,
    /// The project, if there is one.
    pub project: Option<ProjectShare>,
    /// Host user and group that the process becomes: the project's owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// User id that the owner has in the guest.
    pub guest_uid: u32,
    /// Its group there.
    pub guest_gid: u32,
    /// The guest's memory, in MiB.
    pub mem_mib: u64,
}

/// A project and its overlay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProjectShare {
    /// Listening socket.
    pub fd: RawFd,
    /// The host's directory.
    pub lower: PathBuf,
    /// Directory with `upper`, where changes go, and `work`; one mount, as overlayfs asks of the two.
    pub overlay: PathBuf,
}

/// The process: `mvm internal fs CONFIG`.
pub fn main(config: &str) -> Result<()> {
    let config: FsConfig = serde_json::from_str(config)
        .map_err(|error| Error::Failed(format!("file server: bad config: {error}")))?;
    view::unshare()?;
    let tree = tree::build(&config)?;
    // Opened while the host's /proc is still there; a descriptor of it reaches this process alone.
    let proc = serve::ProcFds::open()?;
    tree.enter()?;
    Limits::file_server(config.mem_mib).apply()?;
    privileges::give_up(Uid::from_raw(config.uid), Gid::from_raw(config.gid))?;
    serve::serve(&config, &proc)
}
