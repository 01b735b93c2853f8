//! Templates: guests that were booted once, saved while they waited for their host, and from which VMs are made.
//!
//! ```text
//! CACHE/templates/KEY/about.json   what it is, and the checksums of the other two
//! CACHE/templates/KEY/memory       the pages of its memory that hold something, one after the other
//! CACHE/templates/KEY/state        the state of its devices, as the VMM wrote it
//! CACHE/templates/KEY.failed       why there is none: what went wrong with the last one
//! CACHE/templates/KEY.lock         locked while one is made
//! ```
//!
//! KEY is a digest of everything that a template depends on ([`key`]). A template appears and disappears by a rename of
//! its directory. It holds nothing of a VM, a project or a user: it was made before it knew of any.

pub mod cache;
pub mod key;
pub mod memory;

use crate::boot::memo;
use crate::{Error, Result};
use key::Key;
use memory::Packed;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a failure keeps the next start from trying again: it may have been a busy host's.
const FAILURE_HOLDS: Duration = Duration::from_secs(600);
/// How far the rate of the host's time stamp counter may be from the one a template knows, in parts of a million. It is
/// measured anew at each start, to some 10; a guest whose clock is off by more than this would be put right too often.
const TSC_TOLERANCE_PPM: u64 = 500;
/// Longest state of devices, in bytes. That of the machines made here takes 150 KB.
const STATE_MAX: u64 = 64 << 20;

/// What a template is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct About {
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
    /// Its memory, in MiB.
    pub mem_mib: u64,
    /// Its processors.
    pub vcpu: u32,
    /// How it runs: `kvm` or `tcg`.
    pub accel: String,
    /// The VMM.
    pub vmm: String,
    /// The release of its kernel.
    pub kernel: String,
    /// The rate of the time stamp counter that its kernel was told, in kHz.
    pub tsc_khz: Option<u64>,
    /// Its memory's pages.
    pub memory: Packed,
    /// CRC-32 of the state of its devices.
    pub state_crc: u32,
}

/// A template in the cache.
#[derive(Clone, Debug)]
pub struct Template {
    dir: PathBuf,
    /// What it is.
    pub about: About,
}

/// What there is for a key.
#[derive(Debug)]
pub enum Found {
    /// A template.
    Ready(Box<Template>),
    /// Nothing yet.
    Missing,
    /// None can be made, for this reason.
    Failed(String),
}

/// A template's files while it is made; gone with this value unless it is finished.
#[derive(Debug)]
pub struct Draft {
    dir: tempfile::TempDir,
    place: PathBuf,
    _lock: Flock<File>,
}

/// The directory of templates.
pub fn dir(cache_dir: &Path) -> PathBuf {
    cache_dir.join("templates")
}

/// Looks for the template of `key`, on a host whose time stamp counter runs at `tsc_khz`. One that is damaged or no longer
/// fits is removed.
pub fn find(cache_dir: &Path, key: &Key, tsc_khz: Option<u64>) -> Found {
    let place = dir(cache_dir).join(key.as_str());
    let about = std::fs::read(place.join("about.json"));
    let Ok(about) = about else {
        return match recent_failure(&failure_path(cache_dir, key)) {
            Some(reason) => Found::Failed(reason),
            None => Found::Missing,
        };
    };
    match serde_json::from_slice::<About>(&about) {
        Ok(about) if fits(about.tsc_khz, tsc_khz) => {
            cache::mark_used(&place);
            Found::Ready(Box::new(Template { dir: place, about }))
        }
        // Of another version of mvm, damaged, or made while the host's clock ran differently.
        _ => {
            cache::remove(&place);
            Found::Missing
        }
    }
}

fn fits(told: Option<u64>, is: Option<u64>) -> bool {
    match (told, is) {
        (Some(told), Some(is)) => told.abs_diff(is) <= told / 1_000_000 * TSC_TOLERANCE_PPM,
        (None, _) => true,
        (Some(_), None) => false,
    }
}

/// Removes the template of `key`, so that the next start makes another.
pub fn discard(cache_dir: &Path, key: &Key) {
    cache::remove(&dir(cache_dir).join(key.as_str()));
}

/// Notes why there is no template for `key`; the next start does not try again at once. Removes the one there is.
pub fn note_failure(cache_dir: &Path, key: &Key, reason: &str) {
    discard(cache_dir, key);
    // Without the note the next start tries again, and is slow once more.
    let _ = memo::write(&dir(cache_dir), &failure_path(cache_dir, key), reason.as_bytes());
}

fn failure_path(cache_dir: &Path, key: &Key) -> PathBuf {
    dir(cache_dir).join(format!("{key}.failed"))
}

fn recent_failure(path: &Path) -> Option<String> {
    let age = std::fs::metadata(path).ok()?.modified().ok()?.elapsed().unwrap_or_default();
    (age < FAILURE_HOLDS).then(|| std::fs::read_to_string(path).ok())?
}

impl Draft {
    /// Begins the template of `key`; `None` if another process is at it.
    ///
    /// # Errors
    /// The cache can't be written.
    pub fn begin(cache_dir: &Path, key: &Key) -> Result<Option<Self>> {
        let parent = dir(cache_dir);
        std::fs::create_dir_all(&parent).map_err(Error::io("create the directory", &parent))?;
        let path = parent.join(format!("{key}.lock"));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, errno)) => return Err(Error::io("lock", &path)(errno.into())),
        };
        let dir = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&parent)
            .map_err(Error::io("create a directory in", &parent))?;
        Ok(Some(Self { dir, place: parent.join(key.as_str()), _lock: lock }))
    }

    /// Writes the files of the machine whose memory is `memory` and whose devices' state is `state`, and puts the template
    /// in its place. `about` need not know the checksums.
    ///
    /// # Errors
    /// The files can't be written.
    pub fn finish(self, mut about: About, memory: &File, state: &[u8]) -> Result<Template> {
        let path = self.dir.path().join("memory");
        let packed = File::create_new(&path).map_err(Error::io("create", &path))?;
        about.memory = memory::pack(memory, &packed).map_err(Error::io("write", &path))?;
        about.state_crc = crc32fast::hash(state);
        let path = self.dir.path().join("state");
        std::fs::write(&path, state).map_err(Error::io("write", &path))?;
        let path = self.dir.path().join("about.json");
        let text = serde_json::to_vec(&about)
            .map_err(|error| Error::Failed(format!("can't describe a template: {error}")))?;
        std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        // Not synced to the disk, which takes as long as a boot: what a crash of the host leaves fails its checksum.
        cache::remove(&self.place);
        std::fs::rename(self.dir.path(), &self.place).map_err(Error::io("create", &self.place))?;
        // A failure that has passed.
        let _ = std::fs::remove_file(self.place.with_extension("failed"));
        let _ = self.dir.keep();
        Ok(Template { dir: self.place, about })
    }
}

impl Template {
    /// Writes its memory into `target`, an empty file of the memory's size.
    ///
    /// # Errors
    /// The template is damaged, or a file can't be read or written.
    pub fn unpack_memory(&self, target: &File) -> Result<()> {
        let path = self.dir.join("memory");
        let packed = File::open(&path).map_err(Error::io("open", &path))?;
        let crc = memory::unpack(&packed, &self.about.memory, target).map_err(Error::io("copy", &path))?;
        if crc == self.about.memory.crc { Ok(()) } else { Err(Error::Damaged(path)) }
    }

    /// The state of its devices.
    ///
    /// # Errors
    /// As those of [`unpack_memory`](Self::unpack_memory).
    pub fn state(&self) -> Result<Vec<u8>> {
        let path = self.dir.join("state");
        let mut state = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(STATE_MAX).read_to_end(&mut state))
            .map_err(Error::io("read", &path))?;
        if crc32fast::hash(&state) == self.about.state_crc { Ok(state) } else { Err(Error::Damaged(path)) }
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
