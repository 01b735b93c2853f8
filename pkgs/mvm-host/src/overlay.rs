//! A VM's copy of the project, from the host: what is made ready for it, and what the VM changed in it, which is the upper
//! layer of an overlayfs.
//!
//! As the kernel documents it (Documentation/filesystems/overlayfs.rst): a character device 0/0 in the upper layer hides
//! an entry of the lower one; a directory with the attribute `overlay.opaque` = `y` hides all of the lower one's.

use crate::store::VmPaths;
use crate::{Error, Result};
use nix::unistd::{Gid, Uid};
use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is not in the project.
    Added,
    /// It differs from the project's: content, type, mode, owner or time.
    Modified,
    /// It is in the project, and gone in the VM.
    Deleted,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The path, relative to the project.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// The changes of one VM. Added directories count as one each, as do their files; a deleted directory counts as one
/// with everything in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes, sorted by path; at most as many as asked for.
    pub list: Vec<Change>,
    /// Whether there are more.
    pub truncated: bool,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many changes are of `kind`, among those listed.
    pub fn count(&self, kind: ChangeKind) -> usize {
        self.list.iter().filter(|change| change.kind == kind).count()
    }
}

/// The merged root has the attributes of the upper layer's root: give it the project's.
pub fn prepare_upper(lower: &Path, upper: &Path) -> Result<()> {
    let project = std::fs::metadata(lower).map_err(Error::io("examine the project", lower))?;
    std::fs::set_permissions(upper, std::fs::Permissions::from_mode(project.mode() & 0o7777))
        .map_err(Error::io("set the mode of", upper))?;
    let layer = std::fs::metadata(upper).map_err(Error::io("examine", upper))?;
    if (layer.uid(), layer.gid()) != (project.uid(), project.gid()) {
        let owner = (Uid::from_raw(project.uid()), Gid::from_raw(project.gid()));
        match nix::unistd::chown(upper, Some(owner.0), Some(owner.1)) {
            // An ordinary user's realm has only the user's own id: the root of the copy is the user's then.
            Ok(()) | Err(nix::errno::Errno::EPERM | nix::errno::Errno::EINVAL) => {}
            Err(errno) => return Err(Error::io("set the owner of", upper)(errno.into())),
        }
    }
    Ok(())
}

/// The changes that the VM with `paths` made to `project`, at most `limit` of them.
///
/// A file that was only opened for writing is in the upper layer with the size, mode, owner and time it had; it is no
/// change. Entries that vanish while we look, as those of a running VM do, are left out.
pub fn changes(paths: &VmPaths, project: Option<&Path>, limit: usize) -> Result<Changes> {
    let mut walk = Walk { changes: Changes::default(), limit };
    walk.directory(&paths.upper(), project, Path::new(""), false)?;
    walk.changes.list.sort();
    Ok(walk.changes)
}

struct Walk {
    changes: Changes,
    limit: usize,
}

impl Walk {
    /// Compares the directory `upper` with `lower`, if there is one; `path` is relative to the project. Below an opaque
    /// directory everything of the lower layer is `hidden`.
    fn directory(&mut self, upper: &Path, lower: Option<&Path>, path: &Path, hidden: bool) -> Result<()> {
        let hidden = hidden || is_opaque(upper);
        let mut present = HashSet::new();
        for entry in gone_is_empty(std::fs::read_dir(upper), upper)?.into_iter().flatten() {
            if self.changes.truncated {
                return Ok(());
            }
            let entry = entry.map_err(Error::io("list", upper))?;
            let Some(meta) = gone_is_empty(entry.metadata(), &entry.path())? else { continue };
            let name = entry.file_name();
            let path = path.join(&name);
            let below = lower.map(|lower| lower.join(&name));
            let lower_meta = below.as_deref().and_then(|below| std::fs::symlink_metadata(below).ok());
            present.insert(name);
            if is_whiteout(&meta) {
                // One over nothing hides something that the host's owner removed since.
                if lower_meta.is_some() {
                    self.add(path, ChangeKind::Deleted);
                }
            } else if meta.is_dir() {
                let lower_dir = lower_meta.as_ref().filter(|meta| meta.is_dir()).and(below.as_deref());
                match (&lower_meta, lower_dir) {
                    (None, _) => self.add(path.clone(), ChangeKind::Added),
                    (Some(_), None) => self.add(path.clone(), ChangeKind::Modified),
                    (Some(lower_meta), Some(_)) => {
                        // A directory is copied up whenever something in it changes; its time says nothing.
                        if (meta.mode(), meta.uid(), meta.gid())
                            != (lower_meta.mode(), lower_meta.uid(), lower_meta.gid())
                        {
                            self.add(path.clone(), ChangeKind::Modified);
                        }
                    }
                }
                self.directory(&entry.path(), lower_dir, &path, hidden)?;
            } else {
                match lower_meta {
                    None => self.add(path, ChangeKind::Added),
                    Some(lower_meta) => {
                        if !same(&meta, &lower_meta) {
                            self.add(path, ChangeKind::Modified);
                        }
                    }
                }
            }
        }
        if let (true, Some(lower)) = (hidden, lower) {
            for entry in gone_is_empty(std::fs::read_dir(lower), lower)?.into_iter().flatten() {
                let name = entry.map_err(Error::io("list", lower))?.file_name();
                if !present.contains(&name) {
                    self.add(path.join(name), ChangeKind::Deleted);
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, kind: ChangeKind) {
        if self.changes.list.len() < self.limit {
            self.changes.list.push(Change { path, kind });
        } else {
            self.changes.truncated = true;
        }
    }
}

fn gone_is_empty<T>(result: std::io::Result<T>, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        // A guest may take its own permissions away; what can't be looked into is reported by its parent.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(Error::io("examine", path)(error)),
    }
}

fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// `user.` is used in user namespaces (`userxattr`), `trusted.` elsewhere.
fn is_opaque(dir: &Path) -> bool {
    ["user.overlay.opaque", "trusted.overlay.opaque"].into_iter().any(|name| {
        let mut value = [0u8; 4];
        matches!(rustix::fs::lgetxattr(dir, name, &mut value), Ok(1) if value[0] == b'y')
    })
}

fn same(upper: &Metadata, lower: &Metadata) -> bool {
    let facts =
        |meta: &Metadata| (meta.mode(), meta.uid(), meta.gid(), meta.size(), meta.mtime(), meta.mtime_nsec());
    facts(upper) == facts(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Layers {
        dir: tempfile::TempDir,
    }

    impl Layers {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("vm/overlay/upper")).unwrap();
            fs::create_dir(dir.path().join("project")).unwrap();
            Self { dir }
        }
        fn upper(&self, path: &str) -> PathBuf {
            self.dir.path().join("vm/overlay/upper").join(path)
        }
        fn lower(&self, path: &str) -> PathBuf {
            self.dir.path().join("project").join(path)
        }
        fn changes(&self, limit: usize) -> Changes {
            let paths = VmPaths { dir: self.dir.path().join("vm") };
            changes(&paths, Some(&self.dir.path().join("project")), limit).unwrap()
        }
        fn found(&self) -> Vec<(String, ChangeKind)> {
            let list = self.changes(1000).list.into_iter();
            list.map(|change| (change.path.display().to_string(), change.kind)).collect()
        }
    }

    #[test]
    fn an_untouched_overlay_has_no_changes() {
        let layers = Layers::new();
        fs::write(layers.lower("file"), "x").unwrap();
        assert!(layers.changes(10).is_empty());
    }

    #[test]
    fn a_file_that_was_only_copied_up_is_no_change() {
        let layers = Layers::new();
        fs::write(layers.lower("file"), "x").unwrap();
        fs::copy(layers.lower("file"), layers.upper("file")).unwrap();
        let time = fs::metadata(layers.lower("file")).unwrap().modified().unwrap();
        fs::File::options().write(true).open(layers.upper("file")).unwrap().set_modified(time).unwrap();
        assert_eq!(layers.found(), []);
        fs::write(layers.upper("file"), "changed").unwrap();
        assert_eq!(layers.found(), [("file".to_owned(), ChangeKind::Modified)]);
    }

    #[test]
    fn added_files_and_directories_are_found_and_parents_are_not() {
        let layers = Layers::new();
        fs::create_dir_all(layers.lower("src")).unwrap();
        fs::create_dir_all(layers.upper("src/new")).unwrap();
        fs::write(layers.upper("src/new/file"), "x").unwrap();
        let expected = ["src/new", "src/new/file"].map(|path| (path.to_owned(), ChangeKind::Added));
        assert_eq!(layers.found(), expected);
    }

    #[test]
    fn what_an_opaque_directory_hides_is_deleted() {
        let layers = Layers::new();
        fs::create_dir_all(layers.lower("dir/sub")).unwrap();
        fs::write(layers.lower("dir/kept"), "x").unwrap();
        fs::create_dir(layers.upper("dir")).unwrap();
        fs::write(layers.upper("dir/kept"), "other").unwrap();
        assert_eq!(layers.found(), [("dir/kept".to_owned(), ChangeKind::Modified)]);
        let set = rustix::fs::setxattr(
            layers.upper("dir"),
            "user.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        );
        set.expect("the file system of the temporary directory has user attributes");
        assert_eq!(
            layers.found(),
            [("dir/kept".to_owned(), ChangeKind::Modified), ("dir/sub".to_owned(), ChangeKind::Deleted)]
        );
    }

    #[test]
    fn the_list_is_bounded_and_says_so() {
        let layers = Layers::new();
        for number in 0..20 {
            fs::write(layers.upper(&number.to_string()), "").unwrap();
        }
        let changes = layers.changes(5);
        assert_eq!(changes.count(ChangeKind::Added), 5);
        assert!(changes.truncated);
        assert!(!layers.changes(20).truncated);
    }
}
