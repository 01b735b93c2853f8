//! What can wait until the guest serves: further processors, and an eye on the inodes that its file server must hold.

use crate::console::say;
use std::path::Path;
use std::time::Duration;

/// How long after readiness further processors are brought up: the first command should have the machine to itself.
const PROCESSORS_AFTER: Duration = Duration::from_millis(100);
/// Quota below which inodes are counted more often: a walk over a large tree can use it up within a second.
const SMALL_QUOTA: u64 = 100_000;

/// Starts both, the first unless `all_up`; `file_quota` is how many files the file server can hold for each share, 0 for no
/// limit.
pub fn start(all_up: bool, file_quota: u64) {
    if !all_up {
        // A thread, since bringing up a processor takes an emulated guest half a second inside one write(2).
        std::thread::spawn(|| {
            std::thread::sleep(PROCESSORS_AFTER);
            bring_up_processors();
        });
    }
    if file_quota > 0 {
        tokio::spawn(watch_inodes(file_quota));
    }
}

/// Brings up the processors that the kernel was told to leave alone (`maxcpus=1`), if there are any.
pub fn bring_up_processors() {
    switch_on_below(Path::new("/sys/devices/system/cpu"));
}

fn switch_on_below(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut switches: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path().join("online"))).collect();
    switches.sort();
    for switch in switches {
        if std::fs::read_to_string(&switch).is_ok_and(|state| state.trim() == "0")
            && let Err(error) = std::fs::write(&switch, "1")
        {
            say(format_args!("warning: can't switch on {}: {error}", switch.display()));
        }
    }
}

/// Lets go of cached inodes before the file server, which holds an open file for each, runs out of them. The kernel by
/// itself lets go only when memory is short.
async fn watch_inodes(quota: u64) {
    let pause = Duration::from_millis(if quota < SMALL_QUOTA { 100 } else { 1000 });
    // Both shares' together, of which one alone may use up its quota.
    let enough = quota - quota / 3;
    loop {
        tokio::time::sleep(pause).await;
        let Some(before) = cached_inodes().filter(|cached| *cached > enough) else { continue };
        // 2: entries and inodes, not pages of others (Linux, Documentation/admin-guide/sysctl/vm.rst).
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "2");
        // What is in use stays; trying again at once would only throw away the rest of the cache.
        if cached_inodes().is_some_and(|after| after > before - before / 4) {
            tokio::time::sleep(pause * 20).await;
        }
    }
}

/// Inodes of virtiofs that the kernel holds (Linux, Documentation/ABI/testing/sysfs-kernel-slab, `objects`).
fn cached_inodes() -> Option<u64> {
    count(&std::fs::read_to_string("/sys/kernel/slab/fuse_inode/objects").ok()?)
}

/// The first number of `COUNT N0=COUNT`.
fn count(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processors_that_are_off_are_switched_on() {
        let dir = tempfile::tempdir().unwrap();
        for (cpu, state) in [("cpu1", "0\n"), ("cpu2", "1\n")] {
            std::fs::create_dir(dir.path().join(cpu)).unwrap();
            std::fs::write(dir.path().join(cpu).join("online"), state).unwrap();
        }
        // The first processor has no switch.
        std::fs::create_dir(dir.path().join("cpu0")).unwrap();
        switch_on_below(dir.path());
        let state = |cpu: &str| std::fs::read_to_string(dir.path().join(cpu).join("online")).unwrap();
        assert_eq!((state("cpu1"), state("cpu2")), ("1".to_owned(), "1\n".to_owned()));
        assert!(!dir.path().join("cpu0/online").exists());
    }

    #[test]
    fn the_count_of_inodes_is_the_first_number() {
        assert_eq!(count("4900 N0=4900\n"), Some(4900));
        assert_eq!(count("nonsense"), None);
    }
}
