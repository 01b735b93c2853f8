//! Kernels uncompressed.
//!
//! A bzImage unpacks itself, which takes an emulated guest a fifth of a second. QEMU also boots the kernel inside it
//! directly, by its PVH entry point.

use super::accel::Accelerator;
use super::decompress::decompress;
use super::kernel::Kernel;
use super::memo::{Fingerprint, Made, Request};
use crate::vmm::qemu::Qemu;
use crate::{Error, Result};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, NoteHeader, ProgramHeader};
use std::path::{Path, PathBuf};

/// `XEN_ELFNOTE_PHYS32_ENTRY` (Linux, include/xen/interface/elfnote.h): the kernel has a PVH entry point.
const PVH_ENTRY_NOTE: u32 = 18;

/// The image that boots quickest: `kernel` uncompressed, from the cache or put there, where that is quicker and known
/// to work; else the kernel's own image.
///
/// # Errors
/// The image can't be read, or the cache not be written.
pub fn boot_image(
    cache_dir: &Path,
    kernel: &Kernel,
    accelerator: Accelerator,
    qemu: &Qemu,
) -> Result<PathBuf> {
    if accelerator == Accelerator::Kvm || !qemu.boots_vmlinux_emulated() {
        return Ok(kernel.image.clone());
    }
    let key = kernel.image.display().to_string();
    let path = Request { dir: cache_dir, kind: "vmlinux", extension: "", key: &key }.ensure(|| {
        let inputs = vec![Fingerprint::of(&kernel.image)?];
        let image = std::fs::read(&kernel.image).map_err(Error::io("read the kernel", &kernel.image))?;
        let content = extract(&image).unwrap_or_else(|problem| {
            tracing::debug!("{} boots as it is: {problem}", kernel.image.display());
            Vec::new()
        });
        Ok(Made { content, inputs })
    })?;
    // An empty file stands for a kernel that can't be taken out, so that this is not tried at each start.
    let usable = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0);
    Ok(if usable { path } else { kernel.image.clone() })
}

/// The ELF kernel inside a bzImage (Linux, Documentation/arch/x86/boot.rst), if it has a PVH entry point.
fn extract(image: &[u8]) -> Result<Vec<u8>, String> {
    let payload = payload(image).ok_or("it has no payload")?;
    let mut kernel = decompress(payload)?.into_owned();
    let end = pvh_kernel_end(&kernel).map_err(|error| format!("its payload is no ELF kernel: {error}"))?;
    let end = end.ok_or("it has no PVH entry point")?;
    // Relocations for address randomisation and section headers follow; QEMU reads neither.
    kernel.truncate(end);
    if let Ok((header, _)) = object::pod::from_bytes_mut::<FileHeader64<Endianness>>(&mut kernel) {
        header.e_shoff = object::U64::new(Endianness::Little, 0);
        header.e_shnum = object::U16::new(Endianness::Little, 0);
        header.e_shstrndx = object::U16::new(Endianness::Little, 0);
    }
    Ok(kernel)
}

/// `payload_offset` and `payload_length`, of boot protocol 2.08, count from the end of the setup sectors.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let field = |at: usize| Some(u32::from_le_bytes(*image.get(at..)?.first_chunk()?) as usize);
    let version = u16::from_le_bytes(*image.get(0x206..)?.first_chunk()?);
    if image.get(0x202..0x206)? != b"HdrS" || version < 0x208 {
        return None;
    }
    let setup = (usize::from(*image.get(0x1f1)?) + 1) * 512;
    let start = setup.checked_add(field(0x248)?)?;
    image.get(start..start.checked_add(field(0x24c)?)?)
}

/// Where the segments of a kernel with a PVH entry point end in its file; `None` for one without.
fn pvh_kernel_end(kernel: &[u8]) -> object::Result<Option<usize>> {
    let header = FileHeader64::<Endianness>::parse(kernel)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, kernel)?;
    let mut pvh = false;
    for segment in segments {
        let Some(mut notes) = segment.notes(endian, kernel)? else { continue };
        while let Some(note) = notes.next()? {
            pvh |= note.name() == b"Xen" && note.header().n_type(endian) == PVH_ENTRY_NOTE;
        }
    }
    let end = segments.iter().map(|s| s.p_offset(endian).saturating_add(s.p_filesz(endian))).max();
    let end = end.and_then(|end| usize::try_from(end).ok()).filter(|end| *end <= kernel.len());
    Ok(end.filter(|_| pvh))
}
