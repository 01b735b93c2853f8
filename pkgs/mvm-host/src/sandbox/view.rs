//! A file tree of one's own: what a sandboxed program sees instead of the host's.

use super::mount::{Access, Detached, freeze};
use crate::{Error, Result};
use nix::sys::stat::{Mode, umask};
use rustix::mount::{UnmountFlags, unmount};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A view being built. Everything in it is given by its path as the program will see it (`/usr`).
#[derive(Debug)]
pub struct View {
    base: PathBuf,
    umask: Mode,
}

impl View {
    /// An empty view of at most `size` bytes of files of its own, in the caller's mount namespace, which must be a
    /// private one. Hides the directory it is built on (`/tmp`, usually), so that what is to be mounted is picked up
    /// ([`Detached::tree`]) before.
    pub fn new(size: u64) -> Result<Self> {
        let base = ["/tmp", "/run", "/mnt"].into_iter().map(PathBuf::from).find(|dir| dir.is_dir());
        let base = base
            .ok_or_else(|| Error::Failed("there is no /tmp, /run or /mnt to build a view on".to_owned()))?;
        Detached::tmpfs(size)?.attach(&base)?;
        // Whoever lives in it is another user than who builds it.
        Ok(Self { base, umask: umask(Mode::from_bits_truncate(0o022)) })
    }

    /// Where `path` of the view is now, before [`View::enter`].
    pub fn outside(&self, path: &str) -> PathBuf {
        self.base.join(path.trim_start_matches('/'))
    }

    /// Makes the directory `path`, and those above it, with mode 0755.
    pub fn dir(&self, path: &str) -> Result<PathBuf> {
        let place = self.outside(path);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&place)
            .map_err(Error::io("create", &place))?;
        Ok(place)
    }

    /// Makes the symbolic link `path` to `target`.
    pub fn link(&self, path: &str, target: &Path) -> Result<()> {
        let place = self.outside(path);
        std::os::unix::fs::symlink(target, &place).map_err(Error::io("link", &place))
    }

    /// Mounts a directory at `path`.
    pub fn mount_dir(&self, path: &str, mount: Detached) -> Result<()> {
        mount.attach(&self.dir(path)?)
    }

    /// Mounts a file or device node at `path`.
    pub fn mount_file(&self, path: &str, mount: Detached) -> Result<()> {
        let place = self.outside(path);
        if let Some(parent) = Path::new(path).parent().and_then(Path::to_str) {
            self.dir(parent)?;
        }
        std::fs::write(&place, "").map_err(Error::io("create", &place))?;
        mount.attach(&place)
    }

    /// Makes the view the root of the process, and read-only but for what is mounted in it; nothing else of the host's
    /// tree stays reachable.
    pub fn enter(self) -> Result<()> {
        freeze(&self.base)?;
        umask(self.umask);
        let enter = || -> rustix::io::Result<()> {
            rustix::process::chdir(&self.base)?;
            // Onto itself: the old root ends up below the new one's `.`, and is let go (pivot_root(2), NOTES).
            rustix::process::pivot_root(".", ".")?;
            unmount(".", UnmountFlags::DETACH)?;
            rustix::process::chdir("/")
        };
        enter().map_err(Error::system("enter the sandbox's file tree"))
    }
}

/// A namespace set of one's own for a process that is about to build a view: mounts, network, IPC.
pub fn unshare() -> Result<()> {
    use rustix::thread::UnshareFlags;
    unshare_these(UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC)
}

/// The same for a process that serves the network it is in. A unit that may make no IPC namespace has been given one of
/// its own, which its processes share (`PrivateIPC=`, systemd.exec(5)).
///
/// Errors: it may make none, and is in the host's.
pub fn unshare_but_network() -> Result<()> {
    use rustix::thread::UnshareFlags;
    unshare_these(UnshareFlags::NEWNS)?;
    match unshare_raw(UnshareFlags::NEWIPC) {
        Err(rustix::io::Errno::PERM) if !in_hosts_ipc()? => Ok(()),
        made => made.map_err(Error::system(
            "make an IPC namespace for the sandbox (a unit that may not needs `PrivateIPC=true`)",
        )),
    }
}

/// Whether this process shares the IPC namespace that the kernel started with.
fn in_hosts_ipc() -> Result<bool> {
    /// `PROC_IPC_INIT_INO` of linux/proc_ns.h; PID 1's own link is hidden from units (`ProtectProc=invisible`).
    const FIRST: u64 = 0xEFFF_FFFF;
    let path = Path::new("/proc/self/ns/ipc");
    Ok(std::fs::metadata(path).map_err(Error::io("look at", path))?.ino() == FIRST)
}

fn unshare_these(flags: rustix::thread::UnshareFlags) -> Result<()> {
    unshare_raw(flags).map_err(Error::system("make namespaces for the sandbox"))?;
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .map_err(Error::system("make the sandbox's mounts private"))
}

fn unshare_raw(flags: rustix::thread::UnshareFlags) -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "unshare is unsafe for CLONE_FILES alone, which is not asked for")]
    unsafe {
        rustix::thread::unshare_unsafe(flags)
    }
}

/// The directories of programs and libraries of a host: those to share as they are, and the links at the root that
/// lead into them (`/bin` to `usr/bin`, on a host with merged `/usr`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Software {
    /// Absolute directories.
    pub dirs: Vec<PathBuf>,
    /// Links at the root: path and target.
    pub links: Vec<(PathBuf, PathBuf)>,
}

impl Software {
    /// What the host has below `root` (`/`, or a test's tree).
    pub fn of_host(root: &Path) -> Self {
        let mut software = Self::default();
        for dir in ["usr", "nix/store", "bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            let path = root.join(dir);
            match std::fs::read_link(&path) {
                // Only links that stay within what is shared.
                Ok(target) if target.starts_with("usr") || target.starts_with("/usr") => {
                    software.links.push((Path::new("/").join(dir), target));
                }
                Ok(_) => {}
                Err(_) if path.is_dir() => software.dirs.push(Path::new("/").join(dir)),
                Err(_) => {}
            }
        }
        software
    }

    /// Picks up the directories, read-only. Call before [`View::new`].
    pub fn pick_up(&self) -> Result<Vec<(PathBuf, Detached)>> {
        self.dirs.iter().map(|dir| Ok((dir.clone(), Detached::tree(dir, Access::Read)?))).collect()
    }

    /// Puts them into `view` below `prefix` (a path of the view, without trailing `/`).
    pub fn put(&self, view: &View, prefix: &str, trees: Vec<(PathBuf, Detached)>) -> Result<()> {
        view.dir(if prefix.is_empty() { "/" } else { prefix })?;
        for (dir, tree) in trees {
            view.mount_dir(&format!("{prefix}{}", dir.display()), tree)?;
        }
        for (path, target) in &self.links {
            view.link(&format!("{prefix}{}", path.display()), target)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_merged_host_gives_one_directory_and_links() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["usr/bin", "usr/lib64", "nix/store", "home", "etc"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        symlink("usr/bin", root.path().join("bin")).unwrap();
        symlink("/usr/lib64", root.path().join("lib64")).unwrap();
        symlink("/home", root.path().join("lib")).unwrap();
        let software = Software::of_host(root.path());
        assert_eq!(software.dirs, [PathBuf::from("/usr"), PathBuf::from("/nix/store")]);
        assert_eq!(
            software.links,
            [("/bin".into(), "usr/bin".into()), ("/lib64".into(), "/usr/lib64".into())],
            "a link that leads out of the software is left out"
        );
    }

    #[test]
    fn an_unmerged_host_shares_its_directories() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["usr/bin", "bin", "lib"] {
            std::fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let software = Software::of_host(root.path());
        assert_eq!(software.dirs, ["/usr", "/bin", "/lib"].map(PathBuf::from));
        assert_eq!(software.links, []);
    }
}
