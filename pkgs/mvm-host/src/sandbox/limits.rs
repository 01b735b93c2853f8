//! Resource limits of a process that faces a guest, by setrlimit(2).

use crate::{Error, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Most files that a file server may hold, where the host allows as many.
pub const FILES_MAX: u64 = 1 << 20;

/// What a process may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open files.
    pub files: u64,
    /// Address space, in bytes.
    pub address_space: u64,
}

impl Limits {
    /// For the VMM of a guest with `mem_mib` MiB: its memory, and 4 GiB for code, stacks and translated code.
    pub fn vmm(mem_mib: u64) -> Self {
        Self { files: 1024, address_space: (mem_mib + 4096) << 20 }
    }

    /// For the file server of a guest with `mem_mib` MiB, which maps the guest's memory and holds one file a guest's
    /// inode.
    pub fn file_server(mem_mib: u64) -> Self {
        Self { files: FILES_MAX, address_space: (2 * mem_mib + 4096) << 20 }
    }

    /// Sets them for this process and its children; no limit is raised above the hard one there is. No core dumps:
    /// they would hold the guest's memory.
    pub fn apply(&self) -> Result<()> {
        for (resource, wanted) in [
            (Resource::RLIMIT_NOFILE, self.files),
            (Resource::RLIMIT_AS, self.address_space),
            (Resource::RLIMIT_CORE, 0),
        ] {
            let (_, hard) = getrlimit(resource).map_err(Error::system(format!("read {resource:?}")))?;
            let limit = wanted.min(hard);
            setrlimit(resource, limit, limit)
                .map_err(Error::system(format!("set {resource:?} to {limit}")))?;
        }
        Ok(())
    }
}
