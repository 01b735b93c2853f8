//! The directory of an instance.
//!
//! ```text
//! DIR/           0700, the keeper's user's
//!   conf/        read-only in the view
//!     dnsmasq.conf
//!     resolv.conf, servers.conf   upstream, where it is followed
//!     hosts/NAME     DNS: ADDRESS NAME.mvm NAME
//!     dhcp/NAME      DHCP: MAC,ADDRESS
//!   run/         dnsmasq's user's, who may write there: leases, pid
//!   tmp/         files on their way to conf/: dnsmasq reads whatever appears there
//! ```

use crate::{Error, Result};
use nix::unistd::{Gid, Uid};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The paths of an instance.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
}

/// What writing a file did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was so already.
    None,
    /// The file is new.
    New,
    /// It had another text before.
    Changed,
}

impl Layout {
    /// The paths below `dir`.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// What the instance reads.
    pub fn conf(&self) -> PathBuf {
        self.dir.join("conf")
    }

    /// What it may write.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Names of VMs.
    pub fn hosts(&self) -> PathBuf {
        self.conf().join("hosts")
    }

    /// MAC addresses of VMs.
    pub fn dhcp(&self) -> PathBuf {
        self.conf().join("dhcp")
    }

    /// The lease database (`lease-init` format: expiry, MAC address, address, name, client id).
    pub fn leases(&self) -> PathBuf {
        self.run().join("leases")
    }

    /// Makes the directories; those that are there stay, with their files.
    pub fn create(&self) -> Result<()> {
        let tmp = self.dir.join("tmp");
        let dirs = [
            (self.dir.clone(), 0o700),
            (self.conf(), 0o755),
            (self.hosts(), 0o755),
            (self.dhcp(), 0o755),
            (self.run(), 0o700),
            (tmp, 0o700),
        ];
        for (dir, mode) in dirs {
            std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
            // Not by mkdir's mode, which the umask changes.
            std::fs::set_permissions(&dir, Permissions::from_mode(mode))
                .map_err(Error::io("open up", &dir))?;
        }
        Ok(())
    }

    /// Makes the directory that dnsmasq writes to usable for it as `uid` and `gid`, and lets go of the last one's
    /// process id.
    pub fn hand_over(&self, uid: Uid, gid: Gid) -> Result<()> {
        let run = self.run();
        for path in [run.clone(), self.leases()] {
            // Leases that an instance has left stay usable for one that runs as somebody else.
            match nix::unistd::chown(&path, Some(uid), Some(gid)) {
                Ok(()) | Err(nix::Error::ENOENT) => {}
                Err(errno) => return Err(Error::io("give to dnsmasq's user", &path)(errno.into())),
            }
        }
        let pid = run.join("pid");
        match std::fs::remove_file(&pid) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("remove", &pid)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes the file `path` in [`Layout::conf`], in one step and without a passing name beside it.
    pub fn put(&self, path: &Path, text: &str) -> Result<Change> {
        let before = match std::fs::read(path) {
            Ok(before) if before == text.as_bytes() => return Ok(Change::None),
            Ok(_) => Change::Changed,
            Err(_) => Change::New,
        };
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.dir.join("tmp"))?;
            file.write_all(text.as_bytes())?;
            file.as_file().set_permissions(Permissions::from_mode(0o644))?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(Error::io("write", path))?;
        Ok(before)
    }

    /// Removes a file; says whether it was there.
    pub fn take(&self, path: &Path) -> Result<bool> {
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_change_in_one_step_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("dns"));
        layout.create().unwrap();
        let file = layout.hosts().join("a");
        assert_eq!(layout.put(&file, "one").unwrap(), Change::New);
        assert_eq!(layout.put(&file, "one").unwrap(), Change::None);
        assert_eq!(layout.put(&file, "two").unwrap(), Change::Changed);
        // What is there stays when the directories are made again.
        layout.create().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(layout.take(&file).unwrap());
        assert!(!layout.take(&file).unwrap());
        let left = |dir: PathBuf| std::fs::read_dir(dir).unwrap().count();
        assert_eq!((left(layout.hosts()), left(dir.path().join("dns/tmp"))), (0, 0));
    }
}
