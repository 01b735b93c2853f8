//! Kernels uncompressed.
//!
//! A bzImage unpacks itself, which takes an emulated guest a fifth of a second. QEMU also boots the kernel inside it
//! directly, by its PVH entry point.

use super::accel::Accelerator;
use super::decompress::decompress;
use super::elf;
use super::kernel::Kernel;
use super::memo::{Fingerprint, Made, Request};
use crate::vmm::qemu::Qemu;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

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

/// The ELF kernel inside a bzImage, if it has a PVH entry point; without the relocations for address randomisation,
/// which only the bzImage's own loader uses.
fn extract(image: &[u8]) -> Result<Vec<u8>, String> {
    let payload = payload(image).ok_or("it has no payload")?;
    let kernel = decompress(payload)?.into_owned();
    let not_elf = |error| format!("its payload is no ELF kernel: {error}");
    if !elf::has_pvh_entry(&kernel).map_err(not_elf)? {
        return Err("it has no PVH entry point".to_owned());
    }
    elf::compact(kernel).map_err(not_elf)
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
