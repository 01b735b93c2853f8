//! Which cached file was made from which inputs, so that a start checks a few `stat`s instead of reading megabytes.
//!
//! A memo is named by what was asked for, and holds the fingerprints of every file that went into the answer. Files in
//! the cache are named by their content: processes that make the same one at once write the same bytes.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How many files of a kind the cache keeps.
const KEEP: usize = 4;
/// A file in use is marked as such when its last mark is older.
const MARK_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What tells one version of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    path: PathBuf,
    size: u64,
    mtime_ns: i128,
    inode: u64,
}

impl Fingerprint {
    /// The fingerprint of the file at `path`.
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(Error::io("examine", path))?;
        Ok(Self {
            path: path.to_owned(),
            size: metadata.size(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
            inode: metadata.ino(),
        })
    }

    fn holds(&self) -> bool {
        Self::of(&self.path).is_ok_and(|now| now == *self)
    }
}

/// A request for a file of the cache.
pub struct Request<'a> {
    /// The cache's directory.
    pub dir: &'a Path,
    /// Kind of file: the beginning of its name.
    pub kind: &'a str,
    /// End of the files' names, with its dot if any.
    pub extension: &'a str,
    /// What is asked for, besides the kind.
    pub key: &'a str,
}

/// What a file is made from.
pub struct Made {
    /// Its content.
    pub content: Vec<u8>,
    /// Fingerprints, taken before reading, of all files that went into it.
    pub inputs: Vec<Fingerprint>,
}

#[derive(Serialize, Deserialize)]
struct Memo {
    inputs: Vec<Fingerprint>,
    output: Fingerprint,
}

impl Request<'_> {
    /// The path of the file: the one made before if nothing it was made from has changed, else made anew by `make`.
    pub fn ensure(&self, make: impl FnOnce() -> Result<Made>) -> Result<PathBuf> {
        let memo_path = self.dir.join(format!("{}-{}.memo", self.kind, digest(self.key.as_bytes())));
        if let Some(path) = recall(&memo_path) {
            return Ok(path);
        }
        let Made { content, inputs } = make()?;
        let path = self.dir.join(format!("{}-{}{}", self.kind, digest(&content), self.extension));
        write(self.dir, &path, &content)?;
        let output = Fingerprint::of(&path)?;
        let memo = serde_json::to_vec(&Memo { inputs, output })
            .map_err(|error| Error::Failed(format!("can't describe {}: {error}", path.display())))?;
        write(self.dir, &memo_path, &memo)?;
        self.prune(&path);
        Ok(path)
    }

    /// Removes all but the newest files of the kind, never `current`. What can't be removed stays: it does no harm.
    fn prune(&self, current: &Path) {
        for extension in [self.extension, ".memo"] {
            let Ok(entries) = std::fs::read_dir(self.dir) else { return };
            let mut files: Vec<(SystemTime, PathBuf)> = entries
                .filter_map(Result::ok)
                .filter(|entry| self.is_ours(&entry.file_name().to_string_lossy(), extension))
                .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
                .filter(|(_, path)| path != current)
                .collect();
            files.sort();
            let surplus = (files.len() + 1).saturating_sub(KEEP);
            for (_, path) in files.iter().take(surplus) {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn is_ours(&self, name: &str, extension: &str) -> bool {
        name.strip_prefix(self.kind)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|rest| rest.strip_suffix(extension))
            .is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

/// The file that the memo at `path` names, if it and everything it was made from are as they were.
fn recall(path: &Path) -> Option<PathBuf> {
    let memo: Memo = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    // The output's time is the mark of use, so only its size counts.
    let output = Fingerprint::of(&memo.output.path).ok()?;
    if output.size != memo.output.size || !memo.inputs.iter().all(Fingerprint::holds) {
        return None;
    }
    mark_used(&output.path);
    Some(output.path)
}

/// Keeps a file that is used every day from being pruned as an old one.
fn mark_used(path: &Path) {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > MARK_AFTER);
    if modified.is_ok_and(old)
        && let Ok(file) = std::fs::File::options().append(true).open(path)
    {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Puts `content` at `path`, whole or not at all. Readable for others: the VMM may run as another user.
pub fn write(dir: &Path, path: &Path, content: &[u8]) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(Error::io("create the directory", dir))?;
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o644))
        .tempfile_in(dir)
        .map_err(Error::io("create a file in", dir))?;
    file.write_all(content).map_err(Error::io("write", path))?;
    // A crash of the host must not leave a file that is named and empty.
    file.as_file().sync_data().map_err(Error::io("write", path))?;
    // The mode asked for is subject to the umask.
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .map_err(Error::io("set the mode of", path))?;
    file.persist(path).map_err(|error| Error::io("create", path)(error.error))?;
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct Cache {
        dir: tempfile::TempDir,
        made: Cell<usize>,
    }

    impl Cache {
        fn new() -> Self {
            let cache = Self { dir: tempfile::tempdir().unwrap(), made: Cell::new(0) };
            std::fs::write(cache.input(), "one").unwrap();
            cache
        }
        fn input(&self) -> PathBuf {
            self.dir.path().join("input")
        }
        fn ensure(&self, key: &str) -> PathBuf {
            let input = self.input();
            Request { dir: self.dir.path(), kind: "thing", extension: ".bin", key }
                .ensure(|| {
                    self.made.set(self.made.get() + 1);
                    let inputs = vec![Fingerprint::of(&input)?];
                    let mut content = std::fs::read(&input).unwrap();
                    content.extend_from_slice(key.as_bytes());
                    Ok(Made { content, inputs })
                })
                .unwrap()
        }
    }

    #[test]
    fn a_file_is_made_once_and_again_when_an_input_changes() {
        let cache = Cache::new();
        let first = cache.ensure("");
        assert_eq!((cache.ensure(""), cache.made.get()), (first.clone(), 1));
        std::fs::write(cache.input(), "other").unwrap();
        let second = cache.ensure("");
        assert_ne!(first, second);
        assert_eq!(std::fs::read(second).unwrap(), b"other");
        assert_eq!(cache.made.get(), 2);
    }

    #[test]
    fn a_file_that_is_gone_or_damaged_is_made_again() {
        let cache = Cache::new();
        let path = cache.ensure("");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(cache.ensure(""), path);
        std::fs::write(&path, "").unwrap();
        assert_eq!(std::fs::read(cache.ensure("")).unwrap(), b"one");
        for memo in std::fs::read_dir(cache.dir.path()).unwrap().map(|entry| entry.unwrap().path()) {
            if memo.extension().is_some_and(|extension| extension == "memo") {
                std::fs::write(memo, "{}").unwrap();
            }
        }
        assert_eq!(cache.ensure(""), path);
    }

    #[test]
    fn the_newest_four_are_kept_and_other_files_left_alone() {
        let cache = Cache::new();
        let foreign = cache.dir.path().join("thing-of-mine.bin");
        std::fs::write(&foreign, "").unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        let paths: Vec<PathBuf> = (0..6)
            .map(|n| {
                let path = cache.ensure(&n.to_string());
                let file = std::fs::File::options().append(true).open(&path).unwrap();
                file.set_modified(long_ago + Duration::from_secs(n)).unwrap();
                path
            })
            .collect();
        let kept: Vec<bool> = paths.iter().map(|path| path.exists()).collect();
        assert_eq!(kept, [false, false, true, true, true, true]);
        assert!(foreign.exists());
    }

    #[test]
    fn many_at_once_get_whole_files() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; 1 << 20];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let path = Request { dir: dir.path(), kind: "thing", extension: "", key: "" }
                        .ensure(|| Ok(Made { content: content.clone(), inputs: Vec::new() }))
                        .unwrap();
                    assert_eq!(std::fs::read(path).unwrap(), content);
                });
            }
        });
    }

    #[test]
    fn others_may_read_what_is_cached() {
        let cache = Cache::new();
        let mode = std::fs::metadata(cache.ensure("")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}
