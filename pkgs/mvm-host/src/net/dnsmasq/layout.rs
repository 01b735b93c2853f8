//! The directory of an instance.
//!
//! ```text
//! DIR/           0700, the keeper's user's
//!   conf/        read-only in the view
//!     dnsmasq.conf
//!     resolv.conf, servers.conf   upstream, where it is followed
//!     hosts/NAME     DNS: ADDRESS NAME.mvm NAME
//!     dhcp/NAME      DHCP: MAC,ADDRESS
//!   run/         leases, pid; 0777 where dnsmasq is somebody else: DIR keeps all others away, so that nothing has to be
//!                given to its user, which takes power over everyone's files (CAP_CHOWN and more)
//!   tmp/         files on their way to conf/: dnsmasq reads whatever appears there
//! ```

use crate::{Error, Result};
use nix::unistd::Uid;
use std::fs::Permissions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
            open_up(&dir, mode)?;
        }
        Ok(())
    }

    /// Makes the directory that dnsmasq writes to usable for it as `uid`, and lets go of the last one's process id.
    pub fn hand_over(&self, uid: Uid) -> Result<()> {
        open_up(&self.run(), if uid == Uid::effective() { 0o700 } else { 0o777 })?;
        self.take(&self.run().join("pid"))?;
        self.adopt_leases(uid)
    }

    /// Leases that an instance has left stay usable for one that runs as somebody else. It wrote them with mode 0644
    /// (dnsmasq's umask).
    fn adopt_leases(&self, uid: Uid) -> Result<()> {
        let leases = self.leases();
        match std::fs::symlink_metadata(&leases) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::io("look at", &leases)(error)),
            // dnsmasq makes no such thing; who has taken it over does, to have another file read or written.
            Ok(metadata) if !metadata.is_file() => self.take(&leases).map(drop),
            Ok(metadata) if metadata.uid() == uid.as_raw() => Ok(()),
            Ok(_) => {
                let text = std::fs::read(&leases).map_err(Error::io("read", &leases))?;
                self.replace(&leases, &text, 0o666)
            }
        }
    }

    /// Writes the file `path` in [`Layout::conf`], in one step and without a passing name beside it.
    pub fn put(&self, path: &Path, text: &str) -> Result<Change> {
        let before = match std::fs::read(path) {
            Ok(before) if before == text.as_bytes() => return Ok(Change::None),
            Ok(_) => Change::Changed,
            Err(_) => Change::New,
        };
        self.replace(path, text.as_bytes(), 0o644)?;
        Ok(before)
    }

    fn replace(&self, path: &Path, text: &[u8], mode: u32) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(self.dir.join("tmp"))?;
            file.write_all(text)?;
            file.as_file().set_permissions(Permissions::from_mode(mode))?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(Error::io("write", path))
    }

    /// Removes a file; says whether it was there.
    pub fn take(&self, path: &Path) -> Result<bool> {
        match std::fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("remove", path)(error)),
        }
    }
}

/// Not by mkdir's mode, which the umask changes.
fn open_up(dir: &Path, mode: u32) -> Result<()> {
    std::fs::set_permissions(dir, Permissions::from_mode(mode)).map_err(Error::io("open up", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn another_user_can_go_on_with_the_leases_and_own_none_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("dns"));
        layout.create().unwrap();
        std::fs::write(layout.leases(), "one").unwrap();
        std::fs::set_permissions(layout.leases(), Permissions::from_mode(0o644)).unwrap();
        std::fs::write(layout.run().join("pid"), "7").unwrap();

        layout.hand_over(Uid::effective()).unwrap();
        assert_eq!((mode(&layout.run()), mode(&layout.leases())), (0o700, 0o644), "who writes them already");
        assert!(!layout.run().join("pid").exists());

        let other = Uid::from_raw(Uid::effective().as_raw() + 1);
        layout.hand_over(other).unwrap();
        assert_eq!((mode(&layout.run()), mode(&layout.leases())), (0o777, 0o666));
        assert_eq!(std::fs::read_to_string(layout.leases()).unwrap(), "one");
        assert_eq!(mode(&dir.path().join("dns")), 0o700, "where nobody else gets to");
        let owner = std::fs::metadata(layout.run()).unwrap().uid();
        assert_eq!(owner, Uid::effective().as_raw());
    }

    #[test]
    fn leases_that_lead_elsewhere_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("dns"));
        layout.create().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "secret").unwrap();
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&secret, layout.leases()).unwrap();
        layout.hand_over(Uid::from_raw(Uid::effective().as_raw() + 1)).unwrap();
        assert!(std::fs::symlink_metadata(layout.leases()).is_err());
        assert_eq!((mode(&secret), std::fs::read_to_string(&secret).unwrap()), (0o600, "secret".to_owned()));
    }

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
