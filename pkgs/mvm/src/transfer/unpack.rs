//! A tar stream from a guest becomes files of this host. The guest is not trusted: nothing is written outside of the
//! destination, through a symbolic link, or with set-id bits.

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use tar::{Archive, Entry, EntryType};

/// Longest name, in bytes, that is taken for a path (PATH_MAX, linux/limits.h).
const PATH_MAX: usize = 4096;

/// Where the entries of a stream go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The directory to write below; it exists, and is trusted.
    pub root: PathBuf,
    /// The name of the copy in `root`, in place of the first component of each entry's name; `None` puts the content of
    /// the copied directory into `root` itself.
    pub name: Option<PathBuf>,
}

impl Destination {
    /// The rules of cp(1): into `path` if it is a directory, else as `path`. `own_name` is the source's, `None` for one
    /// like `.`; `several` sources need a directory.
    pub fn find(path: &Path, own_name: Option<&std::ffi::OsStr>, several: bool) -> anyhow::Result<Self> {
        if path.is_dir() {
            return Ok(Self { root: path.to_owned(), name: own_name.map(PathBuf::from) });
        }
        if several {
            bail!("{} is no directory; several sources need one to go to", path.display());
        }
        if own_name.is_none() {
            DirBuilder::new().create(path).with_context(|| format!("can't make {}", path.display()))?;
            return Ok(Self { root: path.to_owned(), name: None });
        }
        let Some(name) = path.file_name() else { bail!("{} can't be made", path.display()) };
        let root = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !root.is_dir() {
            bail!("can't copy to {}: there is no directory {}", path.display(), root.display());
        }
        Ok(Self { root: root.to_owned(), name: Some(name.into()) })
    }

    /// The place of an entry, relative to `root`; `None` for `root` itself. Refuses names that lead elsewhere.
    fn place(&self, entry: &Path, naming: Naming) -> anyhow::Result<Option<PathBuf>> {
        let mut parts = Vec::new();
        for component in entry.components() {
            match component {
                Component::Normal(part) => parts.push(part),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    bail!(
                        "the VM sent the name {entry:?}, which leads out of the destination; nothing more is copied"
                    )
                }
            }
        }
        let own = match naming {
            Naming::UnderOwnName => 1,
            Naming::Bare => 0,
        };
        let mut place = self.name.clone().unwrap_or_default();
        place.extend(parts.iter().skip(own));
        Ok((!place.as_os_str().is_empty()).then_some(place))
    }
}

/// How a stream names its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// Each name begins with that of what is copied: `dist`, `dist/a`.
    UnderOwnName,
    /// What is copied has no name of its own, as `.` has none: `./`, `a`.
    Bare,
}

impl Naming {
    /// The first entry is what is copied.
    fn of_first(name: &Path) -> Self {
        if name.components().all(|part| part == Component::CurDir) { Self::Bare } else { Self::UnderOwnName }
    }
}

/// What was left out of a copy, and why.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Entries written.
    pub entries: u64,
    /// Names of entries of a kind that is not copied.
    pub skipped: Vec<PathBuf>,
}

/// Writes the entries of the tar stream `input` to `destination`.
pub fn unpack(
    input: impl Read,
    destination: &Destination,
    bar: Option<&ProgressBar>,
) -> anyhow::Result<Unpacked> {
    let mut unpacked = Unpacked::default();
    // Modes and times of directories come last: writing into them changes their times, and may need their write bit.
    let mut directories: Vec<(PathBuf, u32, u64)> = Vec::new();
    let mut naming = None;
    let mut archive = Archive::new(input);
    for entry in archive.entries().context("can't read what the VM sent")? {
        let mut entry = entry.context("what the VM sent ends early or is no tar stream")?;
        let name = entry.path().context("the VM sent an unusable name")?.into_owned();
        if name.as_os_str().len() > PATH_MAX {
            bail!("the VM sent a name of {} bytes; at most {PATH_MAX} are possible", name.as_os_str().len());
        }
        let naming = *naming.get_or_insert_with(|| Naming::of_first(&name));
        let place = destination.place(&name, naming)?;
        let kind = entry.header().entry_type();
        let (mode, mtime) = facts(&entry)?;
        let Some(place) = place else {
            if kind != EntryType::Directory {
                bail!("the VM sent a file where its directory was asked for");
            }
            unpacked.entries += 1;
            continue;
        };
        check_parents(&destination.root, &place)?;
        let path = destination.root.join(&place);
        let failed = || format!("can't write {}", path.display());
        match kind {
            EntryType::Directory => {
                make_directory(&path).with_context(failed)?;
                directories.push((path, mode, mtime));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                write_file(&mut entry, &path, mode, mtime, bar).with_context(failed)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name().with_context(failed)?.context("a link without a target")?;
                clear(&path).with_context(failed)?;
                std::os::unix::fs::symlink(target, &path).with_context(failed)?;
            }
            EntryType::Link => {
                let target = entry.link_name().with_context(failed)?.context("a link without a target")?;
                let Some(target) = destination.place(&target, naming)? else {
                    bail!("a hard link to a directory")
                };
                check_parents(&destination.root, &target)?;
                let target = destination.root.join(target);
                // linkat(2) does not follow, so a symbolic link is linked as itself and leads nowhere new.
                clear(&path).with_context(failed)?;
                std::fs::hard_link(&target, &path).with_context(failed)?;
            }
            _ => {
                unpacked.skipped.push(name);
                continue;
            }
        }
        unpacked.entries += 1;
    }
    for (path, mode, mtime) in directories.into_iter().rev() {
        let failed = || format!("can't set mode and time of {}", path.display());
        let dir = File::open(&path).with_context(failed)?;
        dir.set_modified(time(mtime)).with_context(failed)?;
        dir.set_permissions(Permissions::from_mode(mode)).with_context(failed)?;
    }
    Ok(unpacked)
}

/// Permission bits (without set-id and sticky) and modification time in seconds since 1970.
fn facts(entry: &Entry<impl Read>) -> anyhow::Result<(u32, u64)> {
    let header = entry.header();
    let mode = header.mode().context("the VM sent an unusable mode")? & 0o777;
    Ok((mode, header.mtime().context("the VM sent an unusable time")?))
}

fn time(seconds: u64) -> std::time::SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}

/// Every directory on the way must be one, and not a link that the guest sent before.
fn check_parents(root: &Path, place: &Path) -> anyhow::Result<()> {
    let mut path = root.to_owned();
    let parents = place.parent().into_iter().flat_map(Path::components);
    for part in parents {
        path.push(part);
        let meta = std::fs::symlink_metadata(&path)
            .with_context(|| format!("the VM sent a file before its directory {}", path.display()))?;
        if !meta.is_dir() {
            bail!("{} is no directory; nothing is written through it", path.display());
        }
    }
    Ok(())
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            if std::fs::symlink_metadata(path)?.is_dir() {
                Ok(())
            } else {
                Err(std::io::Error::other("it exists and is no directory"))
            }
        }
        result => result,
    }
}

/// Takes away a file or link that is in the way; a directory is an error.
fn clear(path: &Path) -> std::io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Err(std::io::Error::other("it exists and is a directory")),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn write_file(
    entry: &mut Entry<impl Read>,
    path: &Path,
    mode: u32,
    mtime: u64,
    bar: Option<&ProgressBar>,
) -> std::io::Result<()> {
    clear(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = entry.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        file.write_all(bytes)?;
        if let Some(bar) = bar {
            bar.inc(length as u64);
        }
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.set_modified(time(mtime))
}

#[cfg(test)]
mod tests {
    use super::super::pack::{Item, pack};
    use super::*;
    use std::ffi::OsStr;
    use std::fs;

    fn into(root: &Path, name: &str) -> Destination {
        Destination { root: root.to_owned(), name: Some(name.into()) }
    }

    /// A stream with names that a well-behaved packer refuses to write.
    fn stream(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_mtime(1_000_000_000);
            let content = if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name_literal(content).unwrap();
                ""
            } else {
                content
            };
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn a_tree_survives_the_way_there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        fs::create_dir_all(source.join("sub/empty")).unwrap();
        fs::write(source.join("sub/file"), "content").unwrap();
        fs::set_permissions(source.join("sub/file"), Permissions::from_mode(0o751)).unwrap();
        std::os::unix::fs::symlink("sub/file", source.join("link")).unwrap();
        fs::write(source.join("n".repeat(200)), "long").unwrap();
        fs::set_permissions(source.join("sub"), Permissions::from_mode(0o555)).unwrap();
        let mut bytes = Vec::new();
        assert_eq!(pack(&[Item::own(&source)], &mut bytes, None).unwrap(), Vec::<PathBuf>::new());
        let result = unpack(&bytes[..], &into(dir.path(), "copy"), None).unwrap();
        assert_eq!(result, Unpacked { entries: 6, skipped: vec![] });
        let copy = dir.path().join("copy");
        assert_eq!(fs::read(copy.join("sub/file")).unwrap(), b"content");
        assert_eq!(fs::metadata(copy.join("sub/file")).unwrap().permissions().mode() & 0o7777, 0o751);
        assert_eq!(fs::metadata(copy.join("sub")).unwrap().permissions().mode() & 0o7777, 0o555);
        assert_eq!(fs::read_link(copy.join("link")).unwrap(), Path::new("sub/file"));
        assert!(copy.join("n".repeat(200)).exists());
        let seconds = |path: &Path| {
            fs::metadata(path).unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs()
        };
        assert_eq!(seconds(&copy.join("sub")), seconds(&source.join("sub")));
        for sub in [copy.join("sub"), source.join("sub")] {
            fs::set_permissions(sub, Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in ["../x", "a/../../x", "/etc/x", ".."] {
            let dir = tempfile::tempdir().unwrap();
            let bytes = stream(&[(name, EntryType::Regular, "evil")]);
            assert!(unpack(&bytes[..], &into(dir.path(), "copy"), None).is_err(), "{name}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = outside.path().to_str().unwrap();
        let bytes = stream(&[
            ("d", EntryType::Directory, ""),
            ("d/link", EntryType::Symlink, target),
            ("d/link/file", EntryType::Regular, "evil"),
        ]);
        assert!(unpack(&bytes[..], &into(dir.path(), "d"), None).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        // A link in the place of a file is replaced, not followed.
        let victim = outside.path().join("victim");
        fs::write(&victim, "mine").unwrap();
        let bytes =
            stream(&[("f", EntryType::Symlink, victim.to_str().unwrap()), ("f", EntryType::Regular, "evil")]);
        unpack(&bytes[..], &into(dir.path(), "f"), None).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"mine");
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"evil");
    }

    #[test]
    fn hard_links_stay_inside_and_set_id_bits_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = stream(&[
            ("d", EntryType::Directory, ""),
            ("d/a", EntryType::Regular, "x"),
            ("d/b", EntryType::Link, "d/a"),
            ("d/pipe", EntryType::Fifo, ""),
        ]);
        let result = unpack(&bytes[..], &into(dir.path(), "d"), None).unwrap();
        assert_eq!(result.skipped, [PathBuf::from("d/pipe")]);
        let mode = fs::metadata(dir.path().join("d/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        let bytes = stream(&[("l", EntryType::Link, "/etc/passwd")]);
        assert!(unpack(&bytes[..], &into(dir.path(), "l"), None).is_err());
    }

    #[test]
    fn a_truncated_stream_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = stream(&[("f", EntryType::Regular, &"x".repeat(5000))]);
        assert!(unpack(&bytes[..2000], &into(dir.path(), "f"), None).is_err());
    }

    #[test]
    fn the_destination_follows_the_rules_of_cp() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let name = Some(OsStr::new("src"));
        assert_eq!(Destination::find(root, name, true).unwrap(), into(root, "src"));
        assert_eq!(Destination::find(&root.join("new"), name, false).unwrap(), into(root, "new"));
        assert!(Destination::find(&root.join("new"), name, true).is_err());
        assert!(Destination::find(&root.join("no/new"), name, false).is_err());
        let content = Destination::find(&root.join("content"), None, false).unwrap();
        assert_eq!(content, Destination { root: root.join("content"), name: None });
        let bytes = stream(&[("x", EntryType::Directory, ""), ("x/f", EntryType::Regular, "1")]);
        unpack(&bytes[..], &content, None).unwrap();
        let bytes = stream(&[
            ("./", EntryType::Directory, ""),
            ("g", EntryType::Regular, "1"),
            ("./h", EntryType::Regular, "1"),
        ]);
        unpack(&bytes[..], &content, None).unwrap();
        for file in ["f", "g", "h"] {
            assert!(root.join("content").join(file).exists(), "{file}");
        }
    }
}
