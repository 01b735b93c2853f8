//! Files of this host as a tar stream.

use super::paths::own_name;
use anyhow::Context as _;
use indicatif::ProgressBar;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// What is packed, and under which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The file or directory.
    pub source: PathBuf,
    /// Its name in the stream.
    pub name: PathBuf,
}

impl Item {
    /// Under its own name, or the content of a directory like `.` under `.`.
    pub fn own(source: &Path) -> Self {
        Self { source: source.to_owned(), name: own_name(source).unwrap_or(OsStr::new(".")).into() }
    }
}

/// Bytes in the regular files of `sources`: the size of a copy.
pub fn total(sources: &[PathBuf]) -> u64 {
    sources
        .iter()
        .map(|source| match std::fs::symlink_metadata(source) {
            Ok(meta) if meta.is_dir() => {
                let entries = std::fs::read_dir(source).into_iter().flatten().flatten();
                total(&entries.map(|entry| entry.path()).collect::<Vec<_>>())
            }
            Ok(meta) if meta.is_file() => meta.len(),
            _ => 0,
        })
        .sum()
}

/// Writes `items` to `output`: files, directories and symbolic links, with modes and times. Returns what was left out
/// because it is of another kind.
pub fn pack(items: &[Item], output: impl Write, bar: Option<&ProgressBar>) -> anyhow::Result<Vec<PathBuf>> {
    let mut builder = tar::Builder::new(output);
    builder.follow_symlinks(false);
    let mut skipped = Vec::new();
    for Item { source, name } in items {
        add(&mut builder, source, name, bar, &mut skipped)?;
    }
    builder.into_inner().and_then(|mut output| output.flush()).context("can't send the files")?;
    Ok(skipped)
}

fn add(
    builder: &mut tar::Builder<impl Write>,
    source: &Path,
    name: &Path,
    bar: Option<&ProgressBar>,
    skipped: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let failed = || format!("can't copy {}", source.display());
    let meta = std::fs::symlink_metadata(source).with_context(failed)?;
    let kind = meta.file_type();
    let mut header = tar::Header::new_gnu();
    header.set_metadata(&meta);
    if kind.is_dir() {
        builder.append_data(&mut header, name, std::io::empty()).with_context(failed)?;
        let mut entries: Vec<_> =
            std::fs::read_dir(source).and_then(Iterator::collect::<Result<_, _>>).with_context(failed)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            add(builder, &entry.path(), &name.join(entry.file_name()), bar, skipped)?;
        }
    } else if kind.is_symlink() {
        let target = std::fs::read_link(source).with_context(failed)?;
        builder.append_link(&mut header, name, target).with_context(failed)?;
    } else if kind.is_file() {
        let file = std::fs::File::open(source).with_context(failed)?;
        // A file that shrinks while it is read would put everything after it out of step.
        let mut content = Exactly { file, left: meta.len(), bar };
        builder.append_data(&mut header, name, &mut content).with_context(failed)?;
    } else {
        debug_assert!(kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device());
        skipped.push(source.to_owned());
    }
    Ok(())
}

/// Exactly as many bytes as the header says: no more, and an error if there are fewer.
struct Exactly<'a> {
    file: std::fs::File,
    left: u64,
    bar: Option<&'a ProgressBar>,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let length = self.file.read(buffer.get_mut(..most).unwrap_or_default())?;
        if length == 0 {
            return Err(std::io::Error::other("it became shorter while it was read; try again"));
        }
        self.left -= length as u64;
        if let Some(bar) = self.bar {
            bar.inc(length as u64);
        }
        Ok(length)
    }
}
