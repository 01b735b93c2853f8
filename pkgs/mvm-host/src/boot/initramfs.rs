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
use super::kernel::Kernel;
use super::memo::{Fingerprint, Made, Request};
use super::modules::{self, Module};
use crate::{Error, Result};
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, U16, U64};
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
    let candidates = ["mvm-guest-static", "libexec/mvm-guest", "../libexec/microvm-dev/mvm-guest", "mvm-guest"];
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
    match is_static(&beginning) {
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

/// Whether an ELF program, of which the beginning is given, asks for no interpreter (the dynamic linker).
fn is_static(program: &[u8]) -> object::Result<bool> {
    let header = FileHeader64::<Endianness>::parse(program)?;
    let endian = header.endian()?;
    Ok(header.program_headers(endian, program)?.iter().all(|segment| segment.p_type(endian) != PT_INTERP))
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
        let collected = modules::collect(kernel)?;
        inputs.extend(collected.inputs);
        Ok(Made { content: assemble(&without_sections(init), &collected.modules), inputs })
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

/// The program without what follows its segments: symbols and debug information, which nothing reads in the guest and
/// which make up most of the file. As it is when it does not look like that.
fn without_sections(mut program: Vec<u8>) -> Vec<u8> {
    let end_of_segments = || -> object::Result<u64> {
        let header = FileHeader64::<Endianness>::parse(&*program)?;
        let endian = header.endian()?;
        let segments = header.program_headers(endian, &*program)?;
        Ok(segments.iter().map(|s| s.p_offset(endian).saturating_add(s.p_filesz(endian))).max().unwrap_or(0))
    };
    let end = end_of_segments().ok().and_then(|end| usize::try_from(end).ok());
    let Some(end) = end.filter(|end| *end <= program.len() && *end >= size_of::<FileHeader64<Endianness>>()) else {
        return program;
    };
    if let Ok((header, _)) = object::pod::from_bytes_mut::<FileHeader64<Endianness>>(&mut program) {
        header.e_shoff = U64::new(Endianness::Little, 0);
        header.e_shnum = U16::new(Endianness::Little, 0);
        header.e_shstrndx = U16::new(Endianness::Little, 0);
        program.truncate(end);
    }
    program
}
