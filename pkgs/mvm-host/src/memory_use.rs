//! What a running VM takes of the host's memory.

use serde::Serialize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Memory of a VM's processes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryUse {
    /// What would be free without the VM: its guest's memory, as far as it was touched, and its processes' own.
    pub private_bytes: u64,
    /// The guest's part of that.
    pub guest_bytes: u64,
    /// What its processes use together with others: programs, libraries, files in the page cache.
    pub shared_bytes: u64,
}

impl MemoryUse {
    /// That of a VM with the processes `vmm` and `others`; `None` if the VMM's can't be read.
    pub fn of(vmm: i32, others: &[i32]) -> Option<Self> {
        let read =
            |pid: i32| std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("smaps")).ok();
        let mut total = count(&read(vmm)?);
        // A template's pages that the VMM has not looked at yet are there all the same.
        let path = format!("/proc/{vmm}/root{}", crate::vmm_process::MEMORY.1);
        let held = std::fs::metadata(path).map_or(0, |file| file.blocks() * 512);
        let unseen = held.saturating_sub(total.guest_bytes);
        total.guest_bytes += unseen;
        total.private_bytes += unseen;
        for text in others.iter().filter_map(|pid| read(*pid)) {
            // The file server maps the guest's memory as well, which is counted once.
            let other = count(&text);
            total.private_bytes += other.private_bytes - other.guest_bytes;
            total.shared_bytes += other.shared_bytes;
        }
        Some(total)
    }
}

/// Adds up a process' mappings (`/proc/PID/smaps`, proc(5)).
fn count(smaps: &str) -> MemoryUse {
    let mut sum = MemoryUse::default();
    let mut is_guest = false;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        let Some(field) = first.strip_suffix(':') else {
            // A mapping: range, permissions, offset, device, inode, path.
            let path = line.splitn(6, ' ').nth(5).unwrap_or_default().trim();
            is_guest = is_guest_memory(path);
            continue;
        };
        let bytes = words.next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10;
        match (is_guest, field) {
            (true, "Rss") => {
                sum.guest_bytes += bytes;
                sum.private_bytes += bytes;
            }
            (false, "Private_Clean" | "Private_Dirty") => sum.private_bytes += bytes,
            (false, "Shared_Clean" | "Shared_Dirty") => sum.shared_bytes += bytes,
            _ => {}
        }
    }
    sum
}

/// QEMU's own memory file, or the one that a template is copied into.
fn is_guest_memory(path: &str) -> bool {
    let path = path.trim_end_matches(" (deleted)");
    path == format!("/{}", crate::vmm_process::MEMORY.0)
        || path == crate::vmm_process::MEMORY.1
        || path.starts_with("/memfd:memory-backend-memfd")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VMM: &str = "\
7f0000000000-7f0020000000 rw-s 00000000 00:01 17   /memory/guest
Rss:               61440 kB
Shared_Dirty:      61440 kB
Private_Dirty:         0 kB
55d000000000-55d000100000 r-xp 00000000 08:01 99                         /usr/bin/qemu-system-x86_64
Rss:                1024 kB
Shared_Clean:       1000 kB
Private_Clean:        24 kB
7f1000000000-7f1000100000 rw-p 00000000 00:00 0
Rss:                 512 kB
Private_Dirty:       512 kB
VmFlags: rd wr mr
";

    #[test]
    fn a_guests_memory_is_private_whoever_maps_it() {
        let kib = |kib: u64| kib << 10;
        let sum = count(VMM);
        assert_eq!(sum.guest_bytes, kib(61440));
        assert_eq!(sum.private_bytes, kib(61440 + 24 + 512));
        assert_eq!(sum.shared_bytes, kib(1000));
    }

    #[test]
    fn this_process_has_memory_of_its_own_and_one_that_is_gone_has_none() {
        let own = MemoryUse::of(std::process::id().cast_signed(), &[]).unwrap();
        assert!(own.private_bytes > 0 && own.guest_bytes == 0, "{own:?}");
        assert_eq!(MemoryUse::of(i32::MAX, &[]), None);
    }
}
