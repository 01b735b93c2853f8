//! The initramfs of embedded guests: `mvm-guest` as `/init`, and the kernel's modules.
//!
//! ```text
//! /init           mvm-guest
//! /modules/*.ko   modules, uncompressed
//! /modules.load   their paths, in the order of loading
//! /dev /proc /sys /newroot
//! /dev/console    what the kernel opens for init's output
//! ```
//!
//! It says nothing about the VM, so that one serves all. Not compressed: unpacking costs an emulated guest more than
//! reading does.

use super::cpio::Archive;
use super::elf;
use super::kernel::Kernel;
use super::memo::{Fingerprint, Made, Request};
use super::modules::{self, Module};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Changes with what is put into an initramfs from the same files.
const FORMAT: u32 = 1;

/// Finds the guest's program: what `MVM_GUEST` names, else the first of the usual places beside the running program.
///
/// # Errors
/// There is none, or it needs a dynamic linker.
pub fn find_guest() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("MVM_GUEST").filter(|value| !value.is_empty()) {
        let path = std::path::absolute(&named).map_err(Error::io("find", PathBuf::from(&named)))?;
        check_guest(&path)?;
        return Ok(path);
    }
    let program = std::env::current_exe().map_err(Error::system("find the running program"))?;
    find_guest_beside(program.parent().unwrap_or(Path::new("/")))
}

fn find_guest_beside(dir: &Path) -> Result<PathBuf> {
    let candidates =
        ["mvm-guest-static", "libexec/mvm-guest", "../libexec/microvm-dev/mvm-guest", "mvm-guest"];
    let Some(path) = candidates.iter().map(|place| dir.join(place)).find(|path| path.is_file()) else {
        return Err(Error::Failed(format!(
            "the guest's program mvm-guest is missing: looked for {} in {}; `scripts/build` builds it, MVM_GUEST names \
             one elsewhere",
            candidates.join(", "),
            dir.display()
        )));
    };
    check_guest(&path)?;
    Ok(path)
}

/// Only the file's beginning is read: this is part of each start.
fn check_guest(path: &Path) -> Result<()> {
    let mut beginning = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| std::io::Read::read_to_end(&mut std::io::Read::take(file, 4096), &mut beginning))
        .map_err(Error::io("read the guest's program", path))?;
    match elf::is_static(&beginning) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Failed(format!(
            "the guest's program {} is dynamically linked, but it runs before any library is there; `scripts/build` \
             builds a static one",
            path.display()
        ))),
        Err(problem) => Err(Error::Failed(format!(
            "the guest's program {} is no ELF program ({problem}); `scripts/build` builds one",
            path.display()
        ))),
    }
}

/// The initramfs of `guest` and the modules of `kernel`: the one in the cache, made if need be.
///
/// # Errors
/// The kernel lacks a needed module, or a file can't be read or written.
pub fn ensure(cache_dir: &Path, kernel: &Kernel, guest: &Path) -> Result<PathBuf> {
    let key = format!("{FORMAT}\n{}\n{}\n{:?}", guest.display(), kernel.image.display(), kernel.modules);
    Request { dir: cache_dir, kind: "initramfs", extension: ".cpio", key: &key }.ensure(|| {
        let mut inputs = vec![Fingerprint::of(guest)?];
        let init = std::fs::read(guest).map_err(Error::io("read the guest's program", guest))?;
        let init = elf::compact(init)
            .map_err(|error| Error::Failed(format!("{} is no ELF program: {error}", guest.display())))?;
        let collected = modules::collect(kernel)?;
        inputs.extend(collected.inputs);
        Ok(Made { content: assemble(&init, &collected.modules), inputs })
    })
}

fn assemble(init: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for dir in ["dev", "modules", "newroot", "proc", "sys"] {
        archive.dir(dir);
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("init", 0o755, init);
    let path = |module: &Module| format!("modules/{}.ko", module.name);
    let mut sorted: Vec<&Module> = modules.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    for module in sorted {
        archive.file(&path(module), 0o644, &module.bytes);
    }
    let list: String = modules.iter().map(|module| format!("/{}\n", path(module))).collect();
    archive.file("modules.load", 0o644, list.as_bytes());
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_guest_is_refused_with_how_to_build_a_static_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy("/bin/sh", dir.path().join("mvm-guest")).unwrap();
        let error = find_guest_beside(dir.path()).unwrap_err().to_string();
        assert!(error.contains("mvm-guest is dynamically linked"), "{error}");
        assert!(error.contains("scripts/build"), "{error}");

        std::fs::write(dir.path().join("mvm-guest"), "#!/bin/sh\n").unwrap();
        let error = find_guest_beside(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no ELF program"), "{error}");
    }

    #[test]
    fn a_missing_guest_is_reported_with_the_places() {
        let dir = tempfile::tempdir().unwrap();
        let error = find_guest_beside(dir.path()).unwrap_err().to_string();
        assert!(error.contains("mvm-guest-static") && error.contains("MVM_GUEST"), "{error}");
    }

    #[test]
    fn an_initramfs_lists_modules_in_the_order_of_loading() {
        let module = |name: &str| Module { name: name.to_owned(), bytes: name.as_bytes().to_vec() };
        let modules = [module("virtio_ring"), module("virtio"), module("overlay")];
        let archive = assemble(b"program", &modules);
        let text = String::from_utf8_lossy(&archive);
        assert!(text.contains("/modules/virtio_ring.ko\n/modules/virtio.ko\n/modules/overlay.ko\n"));
        let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name}"));
        assert!(
            place("0modules\0") < place("modules/overlay.ko\0"),
            "directories come before what is in them"
        );
        assert!(place("modules/overlay.ko\0") < place("modules/virtio.ko\0"), "files are sorted");
        assert_eq!(archive, assemble(b"program", &modules), "the same input gives the same bytes");
    }
}
