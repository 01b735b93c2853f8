//! Programs that VMs are run with.

use super::{Check, find_program};
use crate::context::Context;
use std::path::Path;
use std::process::{Command, Stdio};

/// QEMU, and its version.
pub fn qemu(_: &Context) -> Check {
    const NAME: &str = "QEMU";
    let program = format!("qemu-system-{}", std::env::consts::ARCH);
    let install = "install it: apt install qemu-system-x86 (Debian), dnf install qemu-system-x86-core (Fedora)";
    let Some(path) = find_program(&program) else {
        return Check::fail(NAME, format!("{program} is not installed"), install);
    };
    match first_line(&path, &["--version"]) {
        Some(line) => {
            let version = line.split_whitespace().nth(3).unwrap_or(&line).to_owned();
            let finding = format!("{} {version}", path.display());
            // virtiofs without a migration blocker of its own, and -M microvm with ACPI, are older; 6 is what is tried.
            match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
                Some(major) if major < 6 => Check::warn(NAME, finding, "QEMU before 6.0 is not tried; update it"),
                _ => Check::ok(NAME, finding),
            }
        }
        None => Check::fail(NAME, format!("{} does not run", path.display()), install),
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

/// The first line that a program prints; `None` if it fails.
fn first_line(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
}
