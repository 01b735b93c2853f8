//! Programs that VMs are run with.

use super::{Check, find_program};
use crate::context::Context;
use mvm_host::vmm::Vmm;
use mvm_host::vmm::qemu::Qemu;

/// QEMU: found, and new enough.
pub fn qemu(context: &Context) -> Check {
    const NAME: &str = "QEMU";
    match Qemu::find_cached(&context.realm.cache_dir).and_then(|qemu| Ok((qemu.version()?, qemu))) {
        Ok((version, qemu)) => Check::ok(NAME, format!("{} {version}", qemu.program().display())),
        Err(error) => Check::fail(
            NAME,
            error.to_string(),
            "apt install qemu-system-x86 (Debian), dnf install qemu-system-x86-core (Fedora)",
        ),
    }
}

/// pasta: the uplink of a user realm.
pub fn pasta(_: &Context) -> Check {
    present("pasta", "pasta", "VMs have no way to the network: apt install passt (Fedora: dnf install passt)")
}

/// nft: what keeps VMs apart.
pub fn nft(_: &Context) -> Check {
    present("nftables", "nft", "VMs with a network can't be kept apart without it: apt install nftables")
}

/// mkfs.ext4: home disks. The guest runs the host's.
pub fn mkfs(_: &Context) -> Check {
    present("mkfs.ext4", "mkfs.ext4", "needed for --persist: apt install e2fsprogs")
}

fn present(name: &'static str, program: &str, advice: &str) -> Check {
    match find_program(program) {
        Some(path) => Check::ok(name, path.display().to_string()),
        None => Check::warn(name, format!("{program} is not installed"), advice),
    }
}
