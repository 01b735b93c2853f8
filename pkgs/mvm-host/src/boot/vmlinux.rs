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

#[cfg(test)]
mod tests {
    use super::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * 512];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&16_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend([0; 16]);
        image.extend(payload);
        image
    }

    #[test]
    fn the_payload_is_where_the_header_says() {
        assert_eq!(payload(&image(b"kernel")).unwrap(), b"kernel");
        let mut old = image(b"kernel");
        old[0x206] = 0x07;
        assert_eq!(payload(&old), None);
        let mut beyond = image(b"kernel");
        beyond[0x24c] = 200;
        assert_eq!(payload(&beyond), None);
        assert_eq!(payload(b"short"), None);
    }

    #[test]
    fn a_kernel_that_cant_be_entered_boots_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let path = dir.path().join("vmlinuz");
        for content in [image(b"no kernel"), image(&program), b"no image".to_vec()] {
            std::fs::write(&path, content).unwrap();
            let kernel = Kernel { image: path.clone(), release: "6.1".to_owned(), modules: None };
            let qemu = Qemu::new("/q".into(), "QEMU emulator version 7.2.0").unwrap();
            for _ in 0..2 {
                assert_eq!(boot_image(dir.path(), &kernel, Accelerator::Tcg, &qemu).unwrap(), path);
            }
        }
    }

    #[test]
    fn an_uncompressed_kernel_is_only_for_emulation_by_versions_that_boot_it() {
        let kernel = Kernel { image: "/gone".into(), release: "6.1".to_owned(), modules: None };
        let qemu =
            |version: &str| Qemu::new("/q".into(), &format!("QEMU emulator version {version}")).unwrap();
        let image =
            |accelerator, version| boot_image(Path::new("/gone"), &kernel, accelerator, &qemu(version));
        assert_eq!(image(Accelerator::Kvm, "7.2.0").unwrap(), Path::new("/gone"));
        assert_eq!(image(Accelerator::Tcg, "10.0.0").unwrap(), Path::new("/gone"));
        assert!(image(Accelerator::Tcg, "7.2.0").is_err());
    }
}
