//! What can go wrong on the host, each with what to do about it.

use mvm_spec::VmName;
use std::path::{Path, PathBuf};

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An operation on a file failed.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A system call that has no file.
    #[error("can't {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file of the cache is not what was written.
    #[error("{} is damaged: its checksum is wrong", .0.display())]
    Damaged(PathBuf),
    /// A stored spec is damaged or newer.
    #[error("the spec of VM `{name}` ({}) can't be used: {source}", path.display())]
    Spec {
        /// The VM.
        name: VmName,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: mvm_spec::SpecError,
    },
    /// A stored state file is damaged.
    #[error("{} is damaged ({source}); `mvm delete --force` removes the VM", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No VM of that name.
    #[error("there is no VM `{0}`; `mvm list` shows those there are")]
    NoSuchVm(VmName),
    /// The name is in use.
    #[error("there is a VM `{0}` already; take another name, or `mvm delete {0}` first")]
    NameTaken(VmName),
    /// The subnet has no free address.
    #[error(
        "no address is free in {subnet}: {used} VMs have one; delete some, use --no-network, or set a larger `subnet` in config.toml"
    )]
    SubnetFull {
        /// The subnet.
        subnet: mvm_spec::net::Cidr,
        /// Addresses in use.
        used: usize,
    },
    /// Anything with a text that already says what failed, on what, and what to do.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// For `map_err`: an I/O error on `path`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source: explain(source) }
    }

    /// For `map_err`: a failed system call, of `std` or of `nix`.
    pub fn system<E: Into<std::io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System { action, source: source.into() }
    }
}

/// Errors that need a word on what to do say it; the others are as the system gives them.
fn explain(error: std::io::Error) -> std::io::Error {
    let explanation = match error.kind() {
        std::io::ErrorKind::StorageFull => "the disk is full; free some space and try again",
        std::io::ErrorKind::QuotaExceeded => "your disk quota is used up; free some space and try again",
        std::io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only; set MVM_STATE_DIR to a writable directory"
        }
        _ => return error,
    };
    std::io::Error::new(error.kind(), explanation)
}
