//! What is read of ELF files: kernels, their modules, and the guest's program. All are for 64-bit x86.

use object::LittleEndian as Endian;
use object::elf::{FileHeader64, NoteType, PT_INTERP, PT_LOAD, ProgramHeader64, SymbolSection};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

type Header = FileHeader64<Endian>;
type Segment = ProgramHeader64<Endian>;

/// `XEN_ELFNOTE_PHYS32_ENTRY` (Linux, include/xen/interface/elfnote.h): the kernel has a PVH entry point.
const PVH_ENTRY_NOTE: NoteType = NoteType(18);

/// Whether a program, of which at least the first page is given, asks for no interpreter (the dynamic linker).
pub fn is_static(program: &[u8]) -> object::Result<bool> {
    let segments = Header::parse(program)?.program_headers(Endian, program)?;
    Ok(segments.iter().all(|segment| segment.p_type(Endian) != PT_INTERP))
}

/// Whether a kernel can be entered as PVH guests are.
pub fn has_pvh_entry(kernel: &[u8]) -> object::Result<bool> {
    for segment in Header::parse(kernel)?.program_headers(Endian, kernel)? {
        let Some(mut notes) = segment.notes(Endian, kernel)? else { continue };
        while let Some(note) = notes.next()? {
            if note.name() == b"Xen" && note.n_type(Endian) == PVH_ENTRY_NOTE {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The content of the section `name`.
pub fn section<'data>(file: &'data [u8], name: &str) -> object::Result<Option<&'data [u8]>> {
    let sections = Header::parse(file)?.sections(Endian, file)?;
    let section = sections.section_by_name(Endian, name.as_bytes());
    section.map(|(_, section)| section.data(Endian, file)).transpose()
}

/// An executable without what follows its segments (symbols, debug information and the list of sections, which nothing
/// that runs it reads and which can be most of the file) and without the zeros at the end of the last segment, which
/// whoever loads it fills in.
pub fn compact(mut executable: Vec<u8>) -> object::Result<Vec<u8>> {
    let header = Header::parse(&*executable)?;
    let segments = header.program_headers(Endian, &*executable)?;
    let end_of = |segment: &Segment| segment.p_offset(Endian).saturating_add(segment.p_filesz(Endian));
    let Some((index, last)) = segments.iter().enumerate().max_by_key(|(_, segment)| end_of(segment)) else {
        return Ok(executable);
    };
    let start = usize::try_from(last.p_offset(Endian)).unwrap_or(usize::MAX);
    let Some(content) = usize::try_from(end_of(last)).ok().and_then(|end| executable.get(start..end)) else {
        // Damaged; that is for whoever runs it to say.
        return Ok(executable);
    };
    let alone = segments.iter().enumerate().all(|(n, other)| n == index || end_of(other) <= start as u64);
    let zeros = content.iter().rev().take_while(|byte| **byte == 0).count();
    // Segments that describe parts of others (notes, thread-local storage) keep what they describe.
    let size = if alone && last.p_type(Endian) == PT_LOAD { content.len() - zeros } else { content.len() };
    let entry = usize::try_from(header.e_phoff(Endian)).unwrap_or(usize::MAX);
    let entry = entry.saturating_add(index * size_of::<Segment>());

    if let Some(bytes) = executable.get_mut(entry..)
        && let Ok((segment, _)) = object::pod::from_bytes_mut::<Segment>(bytes)
    {
        segment.p_filesz.set(Endian, size as u64);
    }
    if let Ok((header, _)) = object::pod::from_bytes_mut::<Header>(&mut executable) {
        header.e_shoff.set(Endian, 0);
        header.e_shnum.set(Endian, 0);
        header.e_shstrndx.set(Endian, SymbolSection(0));
    }
    executable.truncate(start + size);
    Ok(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test program itself: an executable with sections.
    fn own_program() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_program_is_told_from_a_static_one_and_from_other_files() {
        // No distribution links its shell statically; the tests themselves may be.
        assert!(!is_static(&std::fs::read("/bin/sh").unwrap()).unwrap());
        assert!(is_static(b"#!/bin/sh\n").is_err());
    }

    #[test]
    fn sections_are_found_by_name() {
        let program = own_program();
        assert!(!section(&program, ".text").unwrap().unwrap().is_empty());
        assert_eq!(section(&program, ".modinfo").unwrap(), None);
    }

    #[test]
    fn a_compact_program_is_smaller_and_still_runs() {
        use std::os::unix::fs::PermissionsExt;
        let whole = std::fs::read("/bin/true").unwrap();
        let cut = compact(whole.clone()).unwrap();
        assert!(cut.len() < whole.len());
        assert_eq!(section(&cut, ".text").unwrap(), None);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("true");
        std::fs::write(&path, &cut).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(std::process::Command::new(path).status().unwrap().success());
    }

    #[test]
    fn an_ordinary_program_is_no_kernel() {
        assert!(!has_pvh_entry(&own_program()).unwrap());
    }
}
