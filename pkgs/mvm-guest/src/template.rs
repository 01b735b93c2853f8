//! What a guest does that is about to be saved as a template: it leaves as little as possible in its memory, each page of
//! which every VM made from it has to copy.

use crate::console::say;
use std::path::Path;

/// Memory whose earlier content is wiped, in bytes: what unpacking the initramfs and loading modules have left behind is
/// about twice the initramfs. Of memory that was never used there is nothing to gain, and wiping takes an emulated guest
/// 3 ms a megabyte. What the kernel itself has given back needs no wiping: it is filled with a pattern that the host knows.
const WIPED: usize = 20 << 20;
/// A page.
const PAGE: usize = 4096;

/// Whether the kernel command line `cmdline` asks for a template.
pub fn is_asked_for(cmdline: &str) -> bool {
    cmdline.split_ascii_whitespace().any(|word| word == mvm_spec::control::TEMPLATE_WORD)
}

/// Gives back what the rest of the guest's life has no use for.
pub fn tidy() {
    // The modules are in the kernel now; their files only take memory.
    if let Err(error) = std::fs::remove_dir_all(Path::new("/modules")) {
        say(format_args!("warning: can't remove /modules: {error}"));
    }
    wipe(WIPED.min(free_memory() / 4));
}

/// Has the kernel clear `size` bytes of free memory. It hands out what was freed last first.
fn wipe(size: usize) {
    let mut memory = vec![0_u8; size];
    for page in memory.chunks_mut(PAGE) {
        // A page is cleared when it is first written to.
        std::hint::black_box(page)[0] = 0;
    }
}

fn free_memory() -> usize {
    nix::sys::sysinfo::sysinfo().map_or(0, |info| usize::try_from(info.ram_unused()).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_asked_for_by_a_whole_word() {
        assert!(is_asked_for("console=ttyS0 mvm.template reboot=t\n"));
        assert!(!is_asked_for("console=ttyS0 mvm.templates"));
    }

    #[test]
    fn wiping_takes_as_much_as_it_is_told() {
        assert!(free_memory() > 0);
        wipe(0);
        wipe(3 * PAGE + 1);
    }
}
