//! A guest's memory in a file: only the pages that hold something, and where they belong.
//!
//! Packed, so that it does not depend on a file system that keeps holes; copied, not mapped, since the file servers'
//! side of virtiofs reaches a guest's memory only where it is shared, and what is shared can't be copied on write.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// A page, in bytes.
const PAGE: usize = 4096;
/// What the kernel fills memory with that was its own while it booted and is given back: its init code, the gaps in its image,
/// the initramfs (`POISON_FREE_INITMEM` in Linux' include/linux/poison.h, `free_init_pages` in arch/x86/mm/init.c). Whoever
/// is handed such a page may expect nothing in it. It is int3 as well, which fills room for code: never run, either.
const POISON: u8 = 0xcc;
/// Bytes that are moved at a time: few enough to stay in the processor's cache between reading, check and writing.
const CHUNK: usize = 256 << 10;

/// Where the pages of a packed memory belong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Packed {
    /// Runs of pages, in order: offset in the guest's memory and length, in bytes.
    pub runs: Vec<(u64, u64)>,
    /// CRC-32 of the pages.
    pub crc: u32,
}

impl Packed {
    /// What the pages take, in bytes.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|(_, length)| length).sum()
    }
}

/// Whether a page has to be kept: not if all of it is zero, or the poison of freed memory, for which zeros do as well.
fn holds_something(page: &[u8]) -> bool {
    let all = |value| page.iter().all(|byte| *byte == value);
    !all(0) && !all(POISON)
}

/// Writes the pages of `memory` that hold something to `packed`.
pub fn pack(memory: &File, packed: &File) -> io::Result<Packed> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut crc = crc32fast::Hasher::new();
    let mut written = 0;
    let mut buffer = vec![0; CHUNK];
    for (start, end) in data(memory)? {
        let mut at = start;
        while at < end {
            let length = CHUNK.min(usize::try_from(end - at).unwrap_or(CHUNK));
            let chunk = &mut buffer[..length];
            memory.read_exact_at(chunk, at)?;
            for page in chunk.chunks(PAGE) {
                let length = page.len() as u64;
                if holds_something(page) {
                    match runs.last_mut() {
                        Some((start, run)) if *start + *run == at => *run += length,
                        _ => runs.push((at, length)),
                    }
                    crc.update(page);
                    packed.write_all_at(page, written)?;
                    written += length;
                }
                at += length;
            }
        }
    }
    Ok(Packed { runs, crc: crc.finalize() })
}

/// Writes the pages in `packed` to where they belong in `memory`; returns their CRC-32.
pub fn unpack(packed: &File, about: &Packed, memory: &File) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut read = 0;
    let mut buffer = vec![0; CHUNK];
    for &(start, length) in &about.runs {
        let mut done = 0;
        while done < length {
            let size = CHUNK.min(usize::try_from(length - done).unwrap_or(CHUNK));
            let chunk = &mut buffer[..size];
            packed.read_exact_at(chunk, read)?;
            crc.update(chunk);
            memory.write_all_at(chunk, start + done)?;
            read += size as u64;
            done += size as u64;
        }
    }
    Ok(crc.finalize())
}

/// The parts of `file` that are not holes, as start and end.
fn data(file: &File) -> io::Result<Vec<(u64, u64)>> {
    use rustix::fs::SeekFrom;
    let mut parts = Vec::new();
    let mut at = 0;
    loop {
        match rustix::fs::seek(file.as_fd(), SeekFrom::Data(at)) {
            Ok(start) => {
                at = rustix::fs::seek(file.as_fd(), SeekFrom::Hole(start))?;
                parts.push((start, at));
            }
            // No data behind this (lseek(2)).
            Err(rustix::io::Errno::NXIO) => return Ok(parts),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content(file: &File) -> Vec<u8> {
        let mut content = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut content, 0).unwrap();
        content
    }

    fn memory_of(pages: &[u8]) -> File {
        let memory = tempfile::tempfile().unwrap();
        memory.set_len((pages.len() * PAGE) as u64).unwrap();
        for (n, byte) in pages.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            // In its last byte, which a careless comparison misses.
            memory.write_all_at(&[*byte], ((n + 1) * PAGE - 1) as u64).unwrap();
        }
        memory
    }

    proptest! {
        #[test]
        fn memory_comes_out_as_it_went_in(pages in prop::collection::vec(0_u8..3, 0..200)) {
            let (memory, packed) = (memory_of(&pages), tempfile::tempfile().unwrap());
            let about = pack(&memory, &packed).unwrap();
            let used = pages.iter().filter(|byte| **byte != 0).count() * PAGE;
            prop_assert_eq!(about.bytes(), used as u64);
            prop_assert_eq!(packed.metadata().unwrap().len(), used as u64);
            let restored = memory_of(&vec![0; pages.len()]);
            prop_assert_eq!(unpack(&packed, &about, &restored).unwrap(), about.crc);
            prop_assert_eq!(content(&restored), content(&memory));
        }
    }

    #[test]
    fn pages_of_zeros_and_holes_are_left_out() {
        let memory = memory_of(&[0, 1, 1, 0, 2, 0]);
        memory.write_all_at(&[0; PAGE], 0).unwrap();
        let about = pack(&memory, &tempfile::tempfile().unwrap()).unwrap();
        assert_eq!(about.runs, [(4096, 8192), (16384, 4096)]);
    }

    #[test]
    fn what_the_kernel_has_poisoned_is_left_out_if_all_of_the_page_is() {
        let memory = memory_of(&[1, 1, 1, 1]);
        memory.write_all_at(&[POISON; 2 * PAGE], PAGE as u64).unwrap();
        memory.write_all_at(&[0], (3 * PAGE - 1) as u64).unwrap();
        let packed = tempfile::tempfile().unwrap();
        let about = pack(&memory, &packed).unwrap();
        assert_eq!(about.runs, [(0, 4096), (8192, 8192)]);
        let restored = memory_of(&[0; 4]);
        unpack(&packed, &about, &restored).unwrap();
        memory.write_all_at(&[0; PAGE], PAGE as u64).unwrap();
        assert_eq!(content(&restored), content(&memory));
    }

    #[test]
    fn a_changed_page_changes_the_checksum_and_a_missing_one_is_an_error() {
        let packed = tempfile::tempfile().unwrap();
        let about = pack(&memory_of(&[1, 2, 1]), &packed).unwrap();
        packed.write_all_at(&[7], 5000).unwrap();
        let memory = memory_of(&[0, 0, 0]);
        assert_ne!(unpack(&packed, &about, &memory).unwrap(), about.crc);
        packed.set_len(8192).unwrap();
        assert!(unpack(&packed, &about, &memory).is_err());
    }
}
