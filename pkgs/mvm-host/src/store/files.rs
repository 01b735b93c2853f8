//! Files written so that they are whole and stay, and trees that go whatever was done to them.

use crate::{Error, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// How much a write must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The loss of power.
    PowerLoss,
    /// The end of this process: for VMs that end with it anyway.
    ProcessEnd,
}

/// Waits for the lock on the file at `path`, made if need be; held until the value is dropped (flock(2)).
pub fn lock_file(path: &Path) -> Result<Flock<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("open", path))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| Error::io("lock", path)(errno.into()))
}

/// Writes a new file, mode 0600.
pub fn write_new(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io("create", path))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    if durability == Durability::PowerLoss {
        file.sync_all().map_err(Error::io("sync", path))?;
    }
    Ok(())
}

/// Replaces the file at `path`: whoever reads it sees the old content or the new one.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempfile_in(dir)
        .map_err(Error::io("create a file in", dir))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    if durability == Durability::PowerLoss {
        file.as_file().sync_all().map_err(Error::io("sync", path))?;
    }
    file.persist(path).map_err(|error| Error::io("replace", path)(error.error))?;
    if durability == Durability::PowerLoss { sync_dir(dir) } else { Ok(()) }
}

/// Makes what was renamed in `dir` survive the loss of power.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", dir))
}

/// Removes a tree in which directories may have lost their permissions, as overlayfs' work directory and a guest's
/// `chmod 0` have. Already gone is success.
pub fn remove_tree(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
        Err(error) => return Err(Error::io("remove", dir)(error)),
    }
    open_up(dir)?;
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", dir)(error)),
        _ => Ok(()),
    }
}

fn open_up(dir: &Path) -> Result<()> {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))
        .map_err(Error::io("open up", dir))?;
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        if entry.file_type().map_err(Error::io("examine", entry.path()))?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
