//! The guest's end of a copy: archives made and unpacked as the session's user.

use anyhow::{Context, anyhow, bail};
use std::fs::{Metadata, Permissions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Builder, EntryType, Header};

const BUFFER: usize = 128 * 1024;

/// Writes an archive of `path` to `output`. Names begin with the last component of `path`; `.` and `/`, which have
/// none, give names without it. Links are kept as links, sockets left out with a word on standard error.
pub fn create(path: &Path, output: impl Write) -> anyhow::Result<()> {
    let metadata =
        std::fs::symlink_metadata(path).with_context(|| format!("can't read {}", path.display()))?;
    let mut builder = Builder::new(BufWriter::with_capacity(BUFFER, output));
    builder.follow_symlinks(false);
    let root = path.file_name().map_or_else(PathBuf::new, PathBuf::from);
    add(&mut builder, path, &root, &metadata)?;
    let mut writer = builder.into_inner().context("can't finish the archive")?;
    writer.flush().context("can't finish the archive")
}

fn add(
    builder: &mut Builder<impl Write>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
) -> anyhow::Result<()> {
    if metadata.file_type().is_socket() {
        eprintln!("mvm-guest: {} is a socket; left out", path.display());
        return Ok(());
    }
    let failed = || format!("can't archive {}", path.display());
    if !metadata.is_dir() {
        return builder.append_path_with_name(path, name).with_context(failed);
    }
    if name.as_os_str().is_empty() {
        let mut header = Header::new_gnu();
        header.set_metadata(metadata);
        builder.append_data(&mut header, "./", std::io::empty()).with_context(failed)?;
    } else {
        builder.append_dir(name, path).with_context(failed)?;
    }
    let mut entries = std::fs::read_dir(path)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .with_context(|| format!("can't list {}", path.display()))?;
    // The same tree gives the same archive.
    entries.sort_unstable_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let metadata = entry.metadata().with_context(|| format!("can't read {}", entry.path().display()))?;
        add(builder, &entry.path(), &name.join(entry.file_name()), &metadata)?;
    }
    Ok(())
}

/// Unpacks the archive `input` into the directory `dir`, which is made if it is missing. An entry that would land
/// outside of `dir`, by its name or through a link, is refused and ends the unpacking. Modes and times are those of the
/// archive, owners are not.
pub fn extract(dir: &Path, input: impl Read) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("can't create {}", dir.display()))?;
    let mut archive = Archive::new(BufReader::with_capacity(BUFFER, input));
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(false);
    archive.set_overwrite(true);
    let mut dirs = Vec::new();
    for entry in archive.entries().context("can't read the archive")? {
        let mut entry = entry.context("can't read the archive")?;
        let name = entry.path().context("the archive has a name that can't be read")?.into_owned();
        check_name(&name)?;
        if entry.header().entry_type() == EntryType::Directory {
            // Modes and times last: a directory may be closed to writing, and every entry changes its time.
            let header = entry.header();
            let mode = header.mode().unwrap_or(0o755) & 0o7777;
            dirs.push((name.clone(), mode, header.mtime().unwrap_or(0)));
            entry.set_preserve_permissions(false);
            entry.set_preserve_mtime(false);
        }
        let unpacked = entry.unpack_in(dir).map_err(|error| {
            anyhow!("can't unpack {} into {}: {}", name.display(), dir.display(), deepest(&error))
        })?;
        if !unpacked {
            bail!("the archive's entry {} would land outside of {}; refused", name.display(), dir.display());
        }
    }
    for (name, mode, mtime) in dirs.iter().rev() {
        settle(&dir.join(name), *mode, *mtime)?;
    }
    Ok(())
}

/// Refuses names that leave the directory they are unpacked in.
fn check_name(name: &Path) -> anyhow::Result<()> {
    let inside = name.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if inside {
        Ok(())
    } else {
        bail!("the archive's entry {} would land outside of the target directory; refused", name.display())
    }
}

fn settle(dir: &Path, mode: u32, mtime: u64) -> anyhow::Result<()> {
    use nix::sys::stat::{UtimensatFlags, utimensat};
    use nix::sys::time::TimeSpec;
    let failed = || format!("can't set mode and time of {}", dir.display());
    // A later entry of the archive may have put a link in the directory's place.
    if !std::fs::symlink_metadata(dir).with_context(failed)?.is_dir() {
        return Ok(());
    }
    let mtime = TimeSpec::new(i64::try_from(mtime).unwrap_or(i64::MAX), 0);
    utimensat(nix::fcntl::AT_FDCWD, dir, &TimeSpec::UTIME_OMIT, &mtime, UtimensatFlags::NoFollowSymlink)
        .with_context(failed)?;
    match std::fs::set_permissions(dir, Permissions::from_mode(mode)) {
        // Unpacking into a directory of somebody else's is fine, as long as one may write there.
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => Err(error).with_context(failed),
        _ => Ok(()),
    }
}

/// The innermost cause: the archive library wraps the system's answer in texts that repeat our own.
fn deepest(error: &std::io::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // The builder's own methods refuse such names, which is the point.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == EntryType::Symlink || *kind == EntryType::Link {
                header.set_link_name(content).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, std::io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_tree_survives_the_round_trip() {
        let source = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        let tree = source.path().join("tree");
        std::fs::create_dir_all(tree.join("closed")).unwrap();
        std::fs::write(tree.join("run.sh"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(tree.join("run.sh"), Permissions::from_mode(0o750)).unwrap();
        std::fs::write(tree.join("closed/file"), vec![7; 300_000]).unwrap();
        symlink("../nowhere", tree.join("link")).unwrap();
        settle(&tree.join("closed"), 0o555, 1_000_000_000).unwrap();
        settle(&tree, 0o750, 1_100_000_000).unwrap();
        let mut bytes = Vec::new();
        create(&tree, &mut bytes).unwrap();
        extract(target.path(), bytes.as_slice()).unwrap();
        let copy = target.path().join("tree");
        let meta = |path: &str| std::fs::metadata(copy.join(path)).unwrap();
        assert_eq!(meta("run.sh").mode() & 0o7777, 0o750);
        assert_eq!((meta("closed").mode() & 0o7777, meta("closed").mtime()), (0o555, 1_000_000_000));
        assert_eq!((meta("").mode() & 0o7777, meta("").mtime()), (0o750, 1_100_000_000));
        assert_eq!(std::fs::read(copy.join("closed/file")).unwrap(), vec![7; 300_000]);
        assert_eq!(std::fs::read_link(copy.join("link")).unwrap(), Path::new("../nowhere"));
    }

    #[test]
    fn the_current_directory_is_archived_without_a_name() {
        let source = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        std::fs::write(source.path().join("file"), "x").unwrap();
        let mut bytes = Vec::new();
        create(&source.path().join("."), &mut bytes).unwrap();
        // `file_name` of `dir/.` is `dir`: only a bare `.` or `/` has none.
        extract(target.path(), bytes.as_slice()).unwrap();
        let name = source.path().file_name().unwrap();
        assert_eq!(std::fs::read_to_string(target.path().join(name).join("file")).unwrap(), "x");
    }

    #[test]
    fn entries_that_would_escape_are_refused() {
        let outside = tempfile::tempdir().unwrap();
        let link = outside.path().to_str().unwrap();
        for entries in [
            vec![("../escaped", EntryType::Regular, "x")],
            vec![("/escaped", EntryType::Regular, "x")],
            vec![("a/../../escaped", EntryType::Regular, "x")],
            vec![("link", EntryType::Symlink, link), ("link/escaped", EntryType::Regular, "x")],
            vec![("hard", EntryType::Link, "../escaped")],
        ] {
            let parent = tempfile::tempdir().unwrap();
            let target = parent.path().join("target");
            let result = extract(&target, archive(&entries).as_slice());
            assert!(result.is_err(), "{entries:?}");
            assert!(!parent.path().join("escaped").exists(), "{entries:?}");
            assert!(!outside.path().join("escaped").exists(), "{entries:?}");
        }
    }

    #[test]
    fn a_link_in_place_of_a_directory_is_not_followed_for_its_mode() {
        let outside = tempfile::tempdir().unwrap();
        let target = tempfile::tempdir().unwrap();
        std::fs::set_permissions(outside.path(), Permissions::from_mode(0o700)).unwrap();
        symlink(outside.path(), target.path().join("link")).unwrap();
        settle(&target.path().join("link"), 0o777, 0).unwrap();
        assert_eq!(std::fs::metadata(outside.path()).unwrap().mode() & 0o777, 0o700);
    }
}
