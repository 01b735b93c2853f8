//! The files of a VM's forwards: their format, and changes of several of them that happen whole or not at all.

use super::StoredForward;
use crate::store::files::{Durability, sync_dir};
use crate::{Error, Result, fault};
use mvm_spec::forward::{Forward, Protocol};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Version of the files' format.
const VERSION: u32 = 1;
/// From this many files on, one syncfs(2) is less work for the disk than an fsync(2) of each.
const SYNC_ALL_FROM: usize = 16;
/// The file that counts changes.
const GENERATION: &str = ".generation";

/// A [`StoredForward`] as written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Entry {
    proto: Protocol,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    host: u16,
    guest: u16,
    declared: bool,
}

/// The file of a port.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PortFile {
    version: u32,
    forwards: Vec<StoredForward>,
}

/// `.redo`: how files are to be; an empty one is to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Redo {
    version: u32,
    /// By the name of the file.
    pub(super) files: BTreeMap<String, Vec<StoredForward>>,
}

impl Redo {
    /// A record of these files.
    pub(super) fn of(files: BTreeMap<String, Vec<StoredForward>>) -> Self {
        Self { version: VERSION, files }
    }
}

impl From<Entry> for StoredForward {
    fn from(Entry { proto, address, host, guest, declared }: Entry) -> Self {
        Self { forward: Forward { proto, address, host, guest }, declared }
    }
}

impl From<StoredForward> for Entry {
    fn from(StoredForward { forward, declared }: StoredForward) -> Self {
        let Forward { proto, address, host, guest } = forward;
        Self { proto, address, host, guest, declared }
    }
}

/// Makes files as they are to be, all of them or none; an empty one goes.
pub(super) fn write(
    dir: &Path,
    files: BTreeMap<String, Vec<StoredForward>>,
    durability: Durability,
) -> Result<()> {
    if files.len() == 1 {
        return put(dir, &files, durability);
    }
    let redo = Redo::of(files);
    fault::point("forwards-begin");
    bump(dir)?;
    replace(dir, ".redo", &redo, durability == Durability::PowerLoss)?;
    sync_if(dir, durability)?;
    fault::point("forwards-redo");
    finish(dir, &redo, durability)
}

/// Counts that a change of several files begins or ends: a reader that saw the same number before and after, and the same
/// record, saw no change half done. A crash may leave any number.
fn bump(dir: &Path) -> Result<()> {
    replace(dir, GENERATION, &generation(dir)?.wrapping_add(1), false)
}

/// The number that [`bump`] counts; 0 where nothing was counted yet.
pub(super) fn generation(dir: &Path) -> Result<u64> {
    Ok(read(&dir.join(GENERATION))?.unwrap_or_default())
}

/// Makes the files as `redo` says, and lets go of it once that is on disk.
pub(super) fn finish(dir: &Path, redo: &Redo, durability: Durability) -> Result<()> {
    put(dir, &redo.files, durability)?;
    fault::point("forwards-put");
    bump(dir)?;
    remove_file(&dir.join(".redo"))?;
    sync_if(dir, durability)
}

/// Writes or removes files, and makes them last.
pub(super) fn put(
    dir: &Path,
    files: &BTreeMap<String, Vec<StoredForward>>,
    durability: Durability,
) -> Result<()> {
    let lasting = durability == Durability::PowerLoss;
    let all_at_once = files.len() >= SYNC_ALL_FROM;
    for (index, (file, forwards)) in files.iter().enumerate() {
        if forwards.is_empty() {
            remove_file(&dir.join(file))?;
        } else {
            let content = PortFile { version: VERSION, forwards: forwards.clone() };
            replace(dir, file, &content, lasting && !all_at_once)?;
        }
        if index == 0 {
            fault::point("forwards-first-put");
        }
    }
    if lasting && all_at_once {
        let open = File::open(dir).map_err(Error::io("open", dir))?;
        nix::unistd::syncfs(&open).map_err(|errno| Error::io("sync", dir)(errno.into()))?;
        return Ok(());
    }
    sync_if(dir, durability)
}

/// Replaces `dir/name` atomically. The temporary name is always the same: the lock lets one process write at a time,
/// and a crash leaves at most one behind.
fn replace(dir: &Path, name: &str, content: &impl Serialize, sync: bool) -> Result<()> {
    let path = dir.join(name);
    let temporary = dir.join(".tmp");
    let text = serde_json::to_vec(content).map_err(|source| Error::State { path: path.clone(), source })?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(Error::io("create", &temporary))?;
    file.write_all(&text).map_err(Error::io("write", &path))?;
    if sync {
        file.sync_all().map_err(Error::io("sync", &path))?;
    }
    std::fs::rename(&temporary, &path).map_err(Error::io("replace", &path))
}

pub(super) fn make_dir(dir: &Path, durability: Durability) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => dir.parent().map_or(Ok(()), |parent| sync_if(parent, durability)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("create", dir)(error)),
    }
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn sync_if(dir: &Path, durability: Durability) -> Result<()> {
    if durability == Durability::PowerLoss { sync_dir(dir) } else { Ok(()) }
}

pub(super) fn file_name(proto: Protocol, port: u16) -> String {
    format!("{proto}-{port}")
}

pub(super) fn read_redo(dir: &Path) -> Result<Option<Redo>> {
    let path = dir.join(".redo");
    let redo: Option<Redo> = read(&path)?;
    redo.map(|redo| checked(&path, redo.version).map(|()| redo)).transpose()
}

/// What the files hold, or will hold once `redo` is done.
pub(super) fn read_files(dir: &Path, redo: Option<&Redo>) -> Result<Vec<StoredForward>> {
    let mut forwards = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(forwards),
        Err(error) => return Err(Error::io("list", dir)(error)),
    };
    for entry in entries {
        let file = entry.map_err(Error::io("list", dir))?.file_name();
        let name = file.to_string_lossy();
        let replaced = redo.is_some_and(|redo| redo.files.contains_key(name.as_ref()));
        if !name.starts_with('.') && !replaced {
            forwards.extend(read_port(&dir.join(&file))?);
        }
    }
    forwards.extend(redo.into_iter().flat_map(|redo| redo.files.values().flatten().cloned()));
    Ok(forwards)
}

pub(super) fn read_port(path: &Path) -> Result<Vec<StoredForward>> {
    let file: Option<PortFile> = read(path)?;
    file.map_or_else(|| Ok(Vec::new()), |file| checked(path, file.version).map(|()| file.forwards))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| Error::State { path: path.to_owned(), source })
}

fn checked(path: &Path, version: u32) -> Result<()> {
    if version == VERSION {
        return Ok(());
    }
    let problem = format!("version {version}, and this program knows {VERSION}; use the newer program");
    Err(Error::State { path: path.to_owned(), source: serde_json::Error::custom(problem) })
}
