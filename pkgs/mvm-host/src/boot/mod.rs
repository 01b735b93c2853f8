//! What an embedded guest boots from: the distribution's kernel, and an initramfs made of `mvm-guest` and the kernel's
//! modules; and whether this host runs it with KVM.
//!
//! ```text
//! CACHE/kernels/*/boot/vmlinuz-*   kernel packages, unpacked (see `kernel`)
//! CACHE/initramfs-SHA256.cpio      named by content (see `initramfs`)
//! CACHE/vmlinux-SHA256             kernels uncompressed, for emulation (see `vmlinux`)
//! CACHE/KIND-SHA256.memo           which of the above was made from which files (see `memo`)
//! CACHE/kvm-probe.json             whether KVM booted which kernel (see `accel`)
//! ```
//!
//! Everything in the cache can be removed at any time; it is made again.

pub mod accel;
mod cpio;
mod decompress;
mod elf;
pub mod initramfs;
pub mod kernel;
pub(crate) mod memo;
pub mod modules;
pub mod tsc;
pub mod vmlinux;
