//! Serving the view's directories by vhost-user, with the virtiofsd crate.

use super::{FsConfig, tree};
use crate::sandbox::limits::FILES_MAX;
use crate::{Error, Result};
use mvm_spec::control::{PROJECT_TAG, SOFTWARE_TAG};
use nix::sys::resource::{Resource, getrlimit};
use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use virtiofsd::filesystem::{FileSystem, SerializableFileSystem};
use virtiofsd::passthrough::read_only::PassthroughFsRo;
use virtiofsd::passthrough::{CachePolicy, Config, PassthroughFs};
use virtiofsd::seccomp::{SeccompAction, enable_seccomp};
use virtiofsd::soft_idmap::cmdline::IdMap;
use virtiofsd::vhost_user::VhostUserFsBackendBuilder;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// The id that files of unmapped owners have in a user namespace (`/proc/sys/kernel/overflowuid`).
const OVERFLOW_ID: u32 = 65534;
/// Files that the server keeps for itself, beside those of the guest: memory regions, sockets, threads.
const FILES_RESERVED: u64 = 700;

/// Descriptors of `/proc` that virtiofsd needs, from before the view was entered.
pub struct ProcFds {
    self_fd: File,
    mountinfo: File,
}

impl ProcFds {
    /// Opens them.
    pub fn open() -> Result<Self> {
        let open = |path| File::open(path).map_err(Error::io("open", path));
        Ok(Self { self_fd: open("/proc/self/fd")?, mountinfo: open("/proc/self/mountinfo")? })
    }
}

/// How a share is served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Software,
    Project,
}

/// How many files the server can hold for the guest on each of `shares` shares, under the limit of this process (or of
/// one with the same hard limit, which the server takes).
pub fn guest_files(shares: usize) -> Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(Error::system("read RLIMIT_NOFILE"))?;
    Ok(hard.min(FILES_MAX).saturating_sub(FILES_RESERVED) / shares as u64)
}

/// Serves until the VMM has closed all connections.
pub fn serve(config: &FsConfig, proc: &ProcFds) -> Result<()> {
    let shares: Vec<_> = std::iter::once((Kind::Software, config.software_fd))
        .chain(config.project.iter().map(|project| (Kind::Project, project.fd)))
        .collect();
    let files = guest_files(shares.len())?;
    let mut backends: Vec<Box<dyn FnOnce() -> Result<()> + Send>> = Vec::new();
    for (kind, fd) in shares {
        let fs_config = share_config(kind, config, proc, files)?;
        let failed = |error| Error::Failed(format!("can't serve {}: {error}", fs_config_root(kind)));
        match kind {
            Kind::Software => {
                let fs = PassthroughFsRo::new(fs_config).map_err(failed)?;
                backends.push(Box::new(move || run(fs, SOFTWARE_TAG, fd)));
            }
            Kind::Project => {
                let fs = PassthroughFs::new(fs_config).map_err(failed)?;
                backends.push(Box::new(move || run(fs, PROJECT_TAG, fd)));
            }
        }
    }
    // Before the first thread, so that all have it.
    enable_seccomp(SeccompAction::Kill, false)
        .map_err(|error| Error::Failed(format!("can't set the file server's seccomp filter: {error}")))?;
    let threads: Vec<_> = backends.into_iter().map(std::thread::spawn).collect();
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(_) => return Err(Error::Failed("a thread of the file server panicked".to_owned())),
        }
    }
    Ok(())
}

fn fs_config_root(kind: Kind) -> &'static str {
    match kind {
        Kind::Software => tree::SOFTWARE,
        Kind::Project => tree::PROJECT,
    }
}

fn share_config(kind: Kind, config: &FsConfig, proc: &ProcFds, files: u64) -> Result<Config> {
    let duplicate =
        |file: &File| file.try_clone().map(Some).map_err(Error::system("duplicate a descriptor of /proc"));
    let (timeout, cache_policy) = match kind {
        // The host's packages may be upgraded under a running VM; an hour keeps a guest fast and not for ever stale.
        Kind::Software => (Duration::from_secs(3600), CachePolicy::Always),
        // The guest alone writes; the second is for edits of the host's own files.
        Kind::Project => (Duration::from_secs(1), CachePolicy::Auto),
    };
    Ok(Config {
        entry_timeout: timeout,
        attr_timeout: timeout,
        cache_policy,
        root_dir: fs_config_root(kind).to_owned(),
        xattr: kind == Kind::Project,
        proc_sfd_rawfd: duplicate(&proc.self_fd)?,
        proc_mountinfo_rawfd: duplicate(&proc.mountinfo)?,
        // With submounts announced, overlayfs in the guest answers EREMOTE at each of the host's mount points.
        announce_submounts: false,
        guest_fd_limit: files,
        uid_map: Some(ids(config.uid, config.guest_uid)),
        gid_map: Some(ids(config.gid, config.guest_gid)),
        ..Config::default()
    })
}

/// The guest's ids and the host's: whoever acts in the guest acts as the owner on the host, the owner's files are the
/// guest user's, and files of ids that the realm doesn't know (the host's root, for an ordinary user) are root's.
fn ids(host: u32, guest: u32) -> Vec<IdMap> {
    let mut ids = vec![
        IdMap::SquashGuest { from_guest: 0, to_host: host, count: u32::MAX },
        IdMap::Host { from_host: host, to_guest: guest, count: 1 },
    ];
    if host != OVERFLOW_ID {
        ids.push(IdMap::Host { from_host: OVERFLOW_ID, to_guest: 0, count: 1 });
    }
    ids
}

fn run<F: FileSystem + SerializableFileSystem + Send + Sync + 'static>(
    fs: F,
    tag: &str,
    fd: RawFd,
) -> Result<()> {
    let failed = |what: &str, error: &dyn std::fmt::Debug| Error::Failed(format!("{what} {tag}: {error:?}"));
    let backend = VhostUserFsBackendBuilder::default()
        .set_thread_pool_size(0)
        .set_tag(Some(tag.to_owned()))
        .build(fs)
        .map_err(|error| failed("can't build the backend of", &error))?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let mut daemon = VhostUserDaemon::new(tag.to_owned(), Arc::new(backend), memory)
        .map_err(|error| failed("can't make the daemon of", &error))?;
    #[expect(unsafe_code, reason = "the descriptor is a listening socket made for this share alone")]
    let mut listener = unsafe { Listener::from_raw_fd(fd) };
    daemon.start(&mut listener).map_err(|error| failed("can't accept the VMM for", &error))?;
    match daemon.wait() {
        Ok(()) => Ok(()),
        // The VMM has gone: the ordinary end.
        Err(vhost_user_backend::Error::HandleRequest(
            vhost::vhost_user::Error::Disconnected | vhost::vhost_user::Error::PartialMessage,
        )) => Ok(()),
        Err(error) => Err(failed("error while serving", &error)),
    }
}
