//! What the host does for a declared VM beside systemd and microvm.nix: its entry in the store, its copy of the project,
//! its identity. Each step is idempotent, since units run again whenever the host's configuration changes.

use crate::realm::Realm;
use crate::sandbox::mount::{Detached, is_mount_point};
use crate::store::{Declaration, Store, read_declared};
use crate::{Error, Result, fault, outdated, overlay};
use mvm_spec::VmName;
use mvm_spec::latest::Project;
use nix::mount::{MntFlags, umount2};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What [`prepare`] found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// What became of the VM's entry in the store.
    pub declaration: Declaration,
    /// Where the project's overlay is mounted; none for a VM without a project.
    pub project: Option<PathBuf>,
    /// Where the guest's identity is.
    pub identity: PathBuf,
}

/// Makes everything ready for VM `name` to start, as declared in `dir`: its entry in the store, the overlay of its
/// project, mounted in the mount namespace of this process, and its identity. Needs root.
///
/// Errors: the VM is not declared, its declaration clashes with another VM's, its project is no directory.
pub fn prepare(realm: &Realm, dir: &Path, name: &VmName) -> Result<Prepared> {
    let spec = read_declared(dir, name)?;
    let project = spec.project.clone();
    if let Some(Project { path }) = &project {
        check_project(realm, name, path)?;
    }
    realm.create_dirs()?;
    let store = Store::open(&realm.state_dir);
    store.sweep()?;
    let declaration = store.declare(spec)?;
    fault::point("prepare-declared");
    let identity = store.write_identity(name)?;
    fault::point("prepare-identified");
    let paths = store.paths(name);
    let project = match project {
        None => None,
        Some(Project { path }) => {
            let merged = paths.merged();
            match std::fs::DirBuilder::new().mode(0o700).create(&merged) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", &merged)(error));
                }
                _ => {}
            }
            if !is_mount_point(&merged) {
                overlay::prepare_upper(&path, &paths.upper())?;
                Detached::overlay(&path, &paths.upper(), &paths.work())?.attach(&merged)?;
            }
            Some(merged)
        }
    };
    fault::point("prepare-mounted");
    // It starts with what the project says now.
    outdated::clear(Path::new(outdated::DIR), name)?;
    Ok(Prepared { declaration, project, identity })
}

/// Unmounts the project of VM `name`, and throws away what the VM changed in it, unless its state persists. Not mounted is
/// success.
///
/// Error: it is in use; the VM and its file server must have ended.
pub fn undo(realm: &Realm, name: &VmName) -> Result<()> {
    let store = Store::open(&realm.state_dir);
    let merged = store.paths(name).merged();
    while is_mount_point(&merged) {
        umount2(&merged, MntFlags::UMOUNT_NOFOLLOW)
            .map_err(|errno| Error::io("unmount", &merged)(errno.into()))?;
    }
    match store.get(name) {
        Ok(vm) if !vm.spec.persistence.enable => store.reset_overlay(name),
        // What is damaged is for somebody to look at.
        Ok(_) | Err(Error::NoSuchVm(_) | Error::Spec { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn check_project(realm: &Realm, name: &VmName, path: &Path) -> Result<()> {
    let declared = |problem: String| {
        Error::Failed(format!(
            "the project of VM `{name}`, {}, {problem}; declare another `projectDir`",
            path.display()
        ))
    };
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {}
        Ok(_) => return Err(declared("is no directory".to_owned())),
        Err(error) => return Err(declared(format!("can't be used: {error}"))),
    }
    // An overlay of what holds its own upper layer would contain itself.
    if realm.state_dir.starts_with(path) || path.starts_with(&realm.state_dir) {
        return Err(declared(format!("and {} are within each other", realm.state_dir.display())));
    }
    Ok(())
}
