//! The templates there are, and how many are kept.

use super::About;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What all templates together may take, in bytes; those that were not used for longest go first.
const MOST: u64 = 1 << 30;
/// What a crash left half made is this old when it is removed; a younger one may be somebody's work.
const STALE: Duration = Duration::from_secs(600);

/// A template in the cache.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// What it is; none if that can't be read.
    pub about: Option<About>,
    /// Space on disk, in bytes.
    pub bytes: u64,
    /// When it was last used.
    pub used_at: SystemTime,
    dir: PathBuf,
}

/// A key for which no template could be made.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The key.
    pub key: String,
    /// What went wrong.
    pub reason: String,
    /// When.
    pub at: SystemTime,
}

/// The templates in `cache_dir`, the last used first.
pub fn list(cache_dir: &Path) -> Vec<Entry> {
    let mut entries: Vec<Entry> = names(cache_dir)
        .into_iter()
        .filter(|(name, path)| !name.starts_with('.') && path.is_dir())
        .map(|(key, dir)| Entry {
            key,
            about: std::fs::read(dir.join("about.json"))
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok()),
            bytes: size(&dir),
            used_at: modified(&dir),
            dir,
        })
        .collect();
    entries.sort_by(|a, b| b.used_at.cmp(&a.used_at).then_with(|| a.key.cmp(&b.key)));
    entries
}

/// The failures noted in `cache_dir`, that still hold.
pub fn failures(cache_dir: &Path) -> Vec<Failure> {
    names(cache_dir)
        .into_iter()
        .filter_map(|(name, path)| {
            let key = name.strip_suffix(".failed")?.to_owned();
            Some(Failure { key, reason: super::recent_failure(&path)?, at: modified(&path) })
        })
        .collect()
}

/// Removes the templates that were not used for longest until the rest takes no more than its bound, and what crashes
/// left behind; never the template of `keep`. Returns the keys of those removed.
pub fn prune(cache_dir: &Path, keep: Option<&str>) -> Vec<String> {
    prune_to(cache_dir, keep, MOST)
}

/// Removes all templates and the notes of failures; returns the keys of the templates.
pub fn clear(cache_dir: &Path) -> Vec<String> {
    for (name, path) in names(cache_dir) {
        if name.ends_with(".failed") {
            // It holds for some minutes at most.
            let _ = std::fs::remove_file(path);
        }
    }
    prune_to(cache_dir, None, 0)
}

fn prune_to(cache_dir: &Path, keep: Option<&str>, most: u64) -> Vec<String> {
    for (name, path) in names(cache_dir) {
        let age = modified(&path).elapsed().unwrap_or_default();
        if name.starts_with('.') && age > STALE {
            // Another process may be faster.
            let _ = std::fs::remove_dir_all(path);
        }
    }
    let mut removed = Vec::new();
    let (kept, others): (Vec<_>, Vec<_>) =
        list(cache_dir).into_iter().partition(|entry| keep == Some(entry.key.as_str()));
    let mut total: u64 = kept.iter().map(|entry| entry.bytes).sum();
    for entry in others {
        total += entry.bytes;
        if total > most {
            total -= entry.bytes;
            remove(&entry.dir);
            // Locks are held only while a template is made; a lost one makes two of them at worst.
            let _ = std::fs::remove_file(entry.dir.with_extension("lock"));
            removed.push(entry.key);
        }
    }
    removed
}

/// Removes the template at `place`, whole or not at all: a start that has opened it keeps what it has open.
pub(super) fn remove(place: &Path) {
    let Some(parent) = place.parent() else { return };
    let Ok(trash) = tempfile::Builder::new().prefix(".old-").tempdir_in(parent) else { return };
    // It may not be there; the rest goes with `trash`.
    let _ = std::fs::rename(place, trash.path().join("template"));
}

/// Notes that the template at `place` is used now.
pub(super) fn mark_used(place: &Path) {
    if let Ok(dir) = std::fs::File::open(place) {
        // Only the order of removal depends on it.
        let _ = dir.set_modified(SystemTime::now());
    }
}

fn names(cache_dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(super::dir(cache_dir)) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect()
}

fn modified(path: &Path) -> SystemTime {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn size(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    // st_blocks counts 512 bytes each (stat(3type)).
    entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.blocks() * 512)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(cache: &Path, key: &str, kib: usize, age: u64) {
        let dir = super::super::dir(cache).join(key);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("memory"), vec![1; kib << 10]).unwrap();
        let used = SystemTime::now() - Duration::from_secs(age);
        std::fs::File::open(&dir).unwrap().set_modified(used).unwrap();
    }

    fn keys(cache: &Path) -> Vec<String> {
        list(cache).into_iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn those_not_used_for_longest_go_first_but_never_the_one_in_use() {
        let cache = tempfile::tempdir().unwrap();
        for (key, age) in [("a", 30), ("b", 10), ("c", 20)] {
            template(cache.path(), key, 100, age);
        }
        assert_eq!(keys(cache.path()), ["b", "c", "a"]);
        assert!(prune(cache.path(), None).is_empty());
        assert_eq!(prune_to(cache.path(), Some("a"), 250 << 10), ["c"]);
        assert_eq!(keys(cache.path()), ["b", "a"]);
        mark_used(&super::super::dir(cache.path()).join("a"));
        assert_eq!(keys(cache.path()), ["a", "b"]);
        assert_eq!(clear(cache.path()), ["a", "b"]);
        assert!(clear(cache.path()).is_empty());
    }

    #[test]
    fn what_a_crash_left_is_removed_when_it_is_old() {
        let cache = tempfile::tempdir().unwrap();
        template(cache.path(), ".new-old", 1, STALE.as_secs() + 60);
        template(cache.path(), ".new-young", 1, 0);
        prune(cache.path(), None);
        let left: Vec<String> = names(cache.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(left, [".new-young"]);
        assert!(list(cache.path()).is_empty());
    }
}
