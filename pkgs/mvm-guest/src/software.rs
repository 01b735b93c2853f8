//! Where the host's programs are. Most distributions have them in `/usr`; NixOS has almost nothing there, and leads to what
//! is installed by links into the store, of which one is in `/run`, which the guest has of its own.

use crate::mounts::make_dir;
use anyhow::Context;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What every distribution has.
const COMMON: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// NixOS' link to the system that runs, as the host shares it (pkgs/mvm-host/src/fileserver/tree.rs).
const SYSTEM: &str = "run/current-system";

/// The `PATH` of the user `name` in the root tree `root`.
pub fn search_path(root: &Path, name: &str) -> String {
    // In NixOS' order.
    let nixos = [format!("/etc/profiles/per-user/{name}/bin"), format!("/{SYSTEM}/sw/bin")];
    let there = |dir: &&String| root.join(dir.trim_start_matches('/')).is_dir();
    let dirs: Vec<&str> = nixos.iter().filter(there).map(String::as_str).chain([COMMON]).collect();
    dirs.join(":")
}

/// Where `program` is in the root tree `root`, as root would find it.
pub fn find(root: &Path, program: &str) -> Option<String> {
    let path = search_path(root, "root");
    path.split(':')
        .map(|dir| format!("{dir}/{program}"))
        .find(|place| root.join(place.trim_start_matches('/')).exists())
}

/// Makes the link to NixOS' system below `root`, whose `/run` hides that of `software`; nothing for other hosts.
pub fn link_system(software: &Path, root: &Path) -> anyhow::Result<()> {
    let Ok(target) = std::fs::read_link(software.join(SYSTEM)) else { return Ok(()) };
    let place = root.join(SYSTEM);
    if let Some(dir) = place.parent().and_then(Path::to_str) {
        make_dir(dir, 0o755)?;
    }
    match symlink(&target, &place) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("can't link {} to {}", place.display(), target.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The root of a guest on NixOS, as the host shares it: the user `ada` has packages of the own.
    fn nixos() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in ["usr/bin", "bin", "etc/profiles/per-user/ada/bin", "system/sw/bin", "software/run"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        std::fs::write(at("system/sw/bin/mkfs.ext4"), "").unwrap();
        symlink(at("system"), at("software/run/current-system")).unwrap();
        root
    }

    #[test]
    fn on_nixos_programs_are_found_where_it_has_them() {
        let root = nixos();
        // Not before the link is there.
        assert_eq!(find(root.path(), "mkfs.ext4"), None);
        link_system(&root.path().join("software"), root.path()).unwrap();
        // Again, as for a guest that was configured before.
        link_system(&root.path().join("software"), root.path()).unwrap();
        assert_eq!(find(root.path(), "mkfs.ext4").as_deref(), Some("/run/current-system/sw/bin/mkfs.ext4"));
        assert_eq!(
            search_path(root.path(), "ada"),
            format!("/etc/profiles/per-user/ada/bin:/run/current-system/sw/bin:{COMMON}")
        );
        assert_eq!(search_path(root.path(), "dev"), format!("/run/current-system/sw/bin:{COMMON}"));
    }

    #[test]
    fn elsewhere_nothing_is_linked_and_the_path_is_the_usual() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        std::fs::write(root.path().join("usr/sbin/mkfs.ext4"), "").unwrap();
        link_system(&root.path().join("software"), root.path()).unwrap();
        assert!(!root.path().join("run").exists());
        assert_eq!(search_path(root.path(), "dev"), COMMON);
        assert_eq!(find(root.path(), "mkfs.ext4").as_deref(), Some("/usr/sbin/mkfs.ext4"));
    }
}
