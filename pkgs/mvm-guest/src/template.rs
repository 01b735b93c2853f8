//! What a guest does that is about to be saved as a template: it leaves as little as possible in its memory, each page of
//! which every VM made from it has to copy.

use crate::console::say;
use nix::fcntl::{FcntlArg, fcntl};
use std::io::Write;
use std::path::Path;

/// Memory whose earlier content is wiped, in bytes: what unpacking the initramfs and loading modules have left behind is
/// about twice the initramfs. Of memory that was never used there is nothing to gain, and wiping takes an emulated guest
/// 3 ms a megabyte.
const WIPED: usize = 20 << 20;
/// The same of memory that the kernel has set apart for itself: what the initramfs was in, which was filled with a pattern.
const WIPED_OF_KERNEL: usize = 8 << 20;
/// What root may put into one pipe (pipe(7), `/proc/sys/fs/pipe-max-size`).
const PIPE: usize = 1 << 20;
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
    if let Err(error) = wipe_of_kernel(WIPED_OF_KERNEL.min(free_memory() / 8)) {
        say(format_args!("warning: can't wipe memory through a pipe: {error}"));
    }
}

/// Has the kernel clear `size` bytes of free memory. It hands out what was freed last first.
fn wipe(size: usize) {
    let mut memory = vec![0_u8; size];
    for page in memory.chunks_mut(PAGE) {
        // A page is cleared when it is first written to.
        std::hint::black_box(page)[0] = 0;
    }
}

/// Fills pipes with `size` bytes of zeros, and lets go of them. Programs' memory is not taken from what the kernel has set
/// apart for itself, as long as there is other; pipes' is.
fn wipe_of_kernel(size: usize) -> std::io::Result<()> {
    let zeros = vec![0; PIPE];
    let mut pipes = Vec::new();
    for _ in 0..size / PIPE {
        let (reader, mut writer) = std::io::pipe()?;
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(libc::c_int::try_from(PIPE).unwrap_or(libc::c_int::MAX)))?;
        writer.write_all(&zeros)?;
        pipes.push((reader, writer));
    }
    Ok(())
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
        wipe_of_kernel(PIPE - 1).unwrap();
        wipe_of_kernel(PIPE).unwrap();
    }
}
