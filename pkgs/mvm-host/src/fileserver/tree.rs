//! The file server's view: `/software` and `/project`.

use super::{FsConfig, etc};
use crate::overlay;
use crate::sandbox::mount::{Access, Detached};
use crate::sandbox::view::{Software, View};
use crate::{Error, Result};
use rustix::mount::{UnmountFlags, unmount};
use std::path::{Path, PathBuf};

/// Directory of the view with the guest's root tree.
pub const SOFTWARE: &str = "/software";
/// Directory of the view with the project.
pub const PROJECT: &str = "/project";
/// Bytes of files of its own that the view may hold: the guest's `/etc`.
const VIEW_SIZE: u64 = 64 << 20;

/// Builds the view in this process's mount namespace.
pub fn build(config: &FsConfig) -> Result<View> {
    // Everything is picked up before the view hides its sources.
    let software = Software::of_host(Path::new("/"));
    let trees = software.pick_up()?;
    let etc = etc::Etc::read(Path::new("/etc"))?;
    let layers = config
        .project
        .as_ref()
        .map(|project| {
            overlay::prepare_upper(&project.lower, &project.overlay.join("upper"))?;
            Ok::<_, Error>((
                Detached::tree(&project.lower, Access::Read)?,
                Detached::tree(&project.overlay, Access::Write)?,
            ))
        })
        .transpose()?;

    let view = View::new(VIEW_SIZE)?;
    software.put(&view, SOFTWARE, trees)?;
    etc.write(&view.dir(&format!("{SOFTWARE}/etc"))?)?;
    for dir in ["dev", "home", "mnt", "opt", "proc", "project", "root", "run", "srv", "sys", "tmp", "var"] {
        view.dir(&format!("{SOFTWARE}/{dir}"))?;
    }
    for dir in ["cache", "lib", "log", "spool", "tmp"] {
        view.dir(&format!("{SOFTWARE}/var/{dir}"))?;
    }
    if let Some(system) = nixos_system(Path::new("/")) {
        view.link(&format!("{SOFTWARE}/run/current-system"), &system)?;
    }
    view.link(&format!("{SOFTWARE}/var/run"), Path::new("/run"))?;
    view.link(&format!("{SOFTWARE}/var/lock"), Path::new("/run/lock"))?;
    view.dir(PROJECT)?;
    if let Some((lower, overlay)) = layers {
        mount_overlay(&view, lower, overlay)?;
    }
    Ok(view)
}

/// What `/run/current-system` leads to below `root`, on NixOS: the guest makes the link anew, in a `/run` of its own
/// (pkgs/mvm-guest/src/software.rs).
fn nixos_system(root: &Path) -> Option<PathBuf> {
    let system = std::fs::read_link(root.join("run/current-system")).ok()?;
    // Else it leads to where the guest has nothing.
    system.starts_with("/nix/store").then_some(system)
}

/// Mounts the overlay at `/project`. Its layers are mounted under plain names first, since a path given to overlayfs
/// must not hold `:` or `,`, and the project's may; afterwards the overlay holds them, and their own mounts go.
fn mount_overlay(view: &View, lower: Detached, overlay: Detached) -> Result<()> {
    let (lower_at, layers_at) = (view.dir("/layers/lower")?, view.dir("/layers/overlay")?);
    lower.attach(&lower_at)?;
    overlay.attach(&layers_at)?;
    Detached::overlay(&lower_at, &layers_at.join("upper"), &layers_at.join("work"))?
        .attach(&view.outside(PROJECT))?;
    for place in [lower_at, layers_at] {
        unmount(&place, UnmountFlags::DETACH).map_err(|error| Error::io("unmount", &place)(error.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// The root of a NixOS host: next to nothing in `/usr` and `/bin`, links to the rest.
    fn nixos() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in
            ["usr/bin", "bin", "run", "nix/store/1-nixos-system/sw/bin", "nix/store/2-etc/etc/profiles"]
        {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        std::fs::create_dir(at("etc")).unwrap();
        symlink("/nix/store/2-etc/etc", at("etc/static")).unwrap();
        for file in ["profiles", "profile", "shadow"] {
            symlink(format!("/etc/static/{file}"), at("etc").join(file)).unwrap();
        }
        symlink("/nix/store/1-nixos-system", at("run/current-system")).unwrap();
        root
    }

    #[test]
    fn a_guest_on_nixos_sees_the_store_and_the_way_to_what_is_installed() {
        let root = nixos();
        let software = Software::of_host(root.path());
        assert!(software.dirs.contains(&PathBuf::from("/nix/store")), "{software:?}");
        assert_eq!(nixos_system(root.path()), Some("/nix/store/1-nixos-system".into()));
        let guest = tempfile::tempdir().unwrap();
        etc::Etc::read(&root.path().join("etc")).unwrap().write(guest.path()).unwrap();
        for (link, target) in [("static", "/nix/store/2-etc/etc"), ("profiles", "/etc/static/profiles")] {
            assert_eq!(std::fs::read_link(guest.path().join(link)).unwrap(), Path::new(target));
        }
        assert!(std::fs::symlink_metadata(guest.path().join("shadow")).is_err());
    }

    #[test]
    fn elsewhere_there_is_no_system_to_lead_to() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("run")).unwrap();
        assert_eq!(nixos_system(root.path()), None);
        symlink("/somewhere", root.path().join("run/current-system")).unwrap();
        assert_eq!(nixos_system(root.path()), None);
    }
}
