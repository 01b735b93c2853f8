//! Which declared VMs run with what their projects said before: a file a VM, which everybody may read.
//!
//! ```text
//! /run/microvm-dev/outdated/NAME    [`Outdated`] as JSON; gone with the VM's next start
//! ```

use crate::store::Outdated;
use crate::{Error, Result};
use mvm_spec::VmName;
use std::fs::Permissions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the files are.
pub const DIR: &str = "/run/microvm-dev/outdated";

/// The mark of VM `name` in `dir`, if it has one that can be read.
pub fn get(dir: &Path, name: &VmName) -> Option<Outdated> {
    serde_json::from_str(&std::fs::read_to_string(path(dir, name)).ok()?).ok()
}

/// Marks VM `name`.
pub fn set(dir: &Path, name: &VmName, outdated: &Outdated) -> Result<()> {
    let place = path(dir, name);
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        // Not by the umask of a unit.
        std::fs::set_permissions(dir, Permissions::from_mode(0o755))?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(serde_json::to_string(outdated)?.as_bytes())?;
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.persist(&place)?;
        Ok(())
    };
    write().map_err(Error::io("write", &place))
}

/// Takes the mark off VM `name`; none is success.
pub fn clear(dir: &Path, name: &VmName) -> Result<()> {
    let place = path(dir, name);
    match std::fs::remove_file(&place) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &place)(error)),
        _ => Ok(()),
    }
}

fn path(dir: &Path, name: &VmName) -> PathBuf {
    dir.join(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_for_everybody_to_read_until_it_is_taken_off() {
        let place = tempfile::tempdir().unwrap();
        let (dir, name) = (place.path().join("outdated"), VmName::new("web").unwrap());
        clear(&dir, &name).unwrap();
        assert_eq!(get(&dir, &name), None);
        let outdated = Outdated { since: 7, what: vec!["devenv.nix".to_owned()] };
        set(&dir, &name, &outdated).unwrap();
        assert_eq!(get(&dir, &name), Some(outdated));
        assert_eq!(std::fs::metadata(dir.join("web")).unwrap().permissions().mode() & 0o777, 0o644);
        clear(&dir, &name).unwrap();
        assert_eq!(get(&dir, &name), None);
    }
}
