//! The files of a VM's forwards: their format, and changes of several of them that happen whole or not at all.
//!
//! A port's file is a symbolic link whose target is its text, `v1 8080:3000 declared=10.0.0.1:8080:3001`, as in Emacs'
//! lock files: made and replaced whole, read by one system call, and, being metadata, as lasting as the directory's entry,
//! so that a change of it waits for the disk once (fsync(2) of the directory) and not twice.

use super::StoredForward;
use crate::store::files::{Durability, sync_dir, write_new};
use crate::{Error, Result, fault};
use mvm_spec::forward::{Forward, ForwardError, ForwardRequest, Protocol};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Version of the files' format.
const VERSION: u32 = 1;
/// The longest target that ext4 keeps within the inode; a longer one has a block of its own, which fsync(2) of the
/// directory need not write.
const INLINE_MAX: usize = 59;
/// The longest target of a symbolic link, symlink(2).
const TARGET_MAX: usize = libc::PATH_MAX as usize - 1;
/// The record of a change of several files.
const REDO: &str = ".redo";
/// The file that counts changes, a symbolic link as well.
const GENERATION: &str = ".generation";
/// The name of what is half written, always the same: the lock lets one process write at a time, and a crash leaves at
/// most one behind.
const TEMPORARY: &str = ".tmp";
/// What a forward that comes from the VM's spec is marked with.
const DECLARED: &str = "declared=";

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
///
/// Errors: a port has so many addresses that they don't fit its file.
pub(super) fn write(
    dir: &Path,
    files: BTreeMap<String, Vec<StoredForward>>,
    durability: Durability,
) -> Result<()> {
    // Before anything is written: a record that can't be followed would stop all later changes.
    for (file, forwards) in &files {
        if text(forwards).len() > TARGET_MAX {
            let count = forwards.len();
            return Err(Error::Failed(format!(
                "{file} would lead on from {count} addresses, more than can be stored"
            )));
        }
    }
    if files.len() == 1 {
        return put(dir, &files, durability);
    }
    let redo = Redo::of(files);
    fault::point("forwards-begin");
    bump(dir)?;
    write_redo(dir, &redo, durability)?;
    fault::point("forwards-redo");
    finish(dir, &redo, durability)
}

/// Counts that a change of several files begins or ends: a reader that saw the same number before and after, and the same
/// record, saw no change half done. A crash may leave any number.
fn bump(dir: &Path) -> Result<()> {
    link(dir, GENERATION, &generation(dir)?.wrapping_add(1).to_string())
}

/// The number that [`bump`] counts; 0 where nothing was counted yet.
pub(super) fn generation(dir: &Path) -> Result<u64> {
    let path = dir.join(GENERATION);
    let Some(target) = read_target(&path)? else { return Ok(0) };
    target.parse().map_err(|_| damaged(&path, format!("`{target}` is no number")))
}

/// Makes the files as `redo` says, and lets go of it once that is on disk.
pub(super) fn finish(dir: &Path, redo: &Redo, durability: Durability) -> Result<()> {
    put(dir, &redo.files, durability)?;
    fault::point("forwards-put");
    bump(dir)?;
    remove_file(&dir.join(REDO))?;
    sync_if(dir, durability)
}

/// Writes or removes files, and makes them last.
pub(super) fn put(
    dir: &Path,
    files: &BTreeMap<String, Vec<StoredForward>>,
    durability: Durability,
) -> Result<()> {
    let mut inline = true;
    for (index, (file, forwards)) in files.iter().enumerate() {
        if forwards.is_empty() {
            remove_file(&dir.join(file))?;
        } else {
            let target = text(forwards);
            inline &= target.len() <= INLINE_MAX;
            link(dir, file, &target)?;
        }
        if index == 0 {
            fault::point("forwards-first-put");
        }
    }
    if inline || durability == Durability::ProcessEnd {
        return sync_if(dir, durability);
    }
    let open = File::open(dir).map_err(Error::io("open", dir))?;
    nix::unistd::syncfs(&open).map_err(|errno| Error::io("sync", dir)(errno.into()))
}

/// The text of a port's file.
fn text(forwards: &[StoredForward]) -> String {
    let mut text = format!("v{VERSION}");
    for StoredForward { forward, declared } in forwards {
        let mark = if *declared { DECLARED } else { "" };
        text.push_str(&format!(" {mark}{forward}"));
    }
    text
}

/// What [`text`] wrote.
fn parse(text: &str) -> std::result::Result<Vec<StoredForward>, String> {
    let mut words = text.split(' ');
    match words.next().and_then(|version| version.strip_prefix('v')?.parse().ok()) {
        Some(VERSION) => {}
        Some(version) => return Err(newer(version)),
        None => return Err(format!("`{text}` is no list of port forwards")),
    }
    words
        .map(|word| {
            let (declared, word) = word.strip_prefix(DECLARED).map_or((false, word), |rest| (true, rest));
            let request: ForwardRequest = word.parse().map_err(|error: ForwardError| error.to_string())?;
            match (request.host, request.count, request.forwards().next()) {
                (1.., 1, Some(forward)) => Ok(StoredForward { forward, declared }),
                _ => Err(format!("`{word}` is not one port")),
            }
        })
        .collect()
}

/// Makes or replaces the symbolic link `dir/name` atomically.
fn link(dir: &Path, name: &str, target: &str) -> Result<()> {
    let (path, temporary) = (dir.join(name), dir.join(TEMPORARY));
    remove_file(&temporary)?;
    std::os::unix::fs::symlink(target, &temporary).map_err(Error::io("create", &temporary))?;
    std::fs::rename(&temporary, &path).map_err(Error::io("replace", &path))
}

/// Writes the record of a change under way, and makes it last.
fn write_redo(dir: &Path, redo: &Redo, durability: Durability) -> Result<()> {
    let (path, temporary) = (dir.join(REDO), dir.join(TEMPORARY));
    let text = serde_json::to_vec(redo).map_err(|source| Error::State { path: path.clone(), source })?;
    remove_file(&temporary)?;
    write_new(&temporary, &text, durability)?;
    std::fs::rename(&temporary, &path).map_err(Error::io("replace", &path))?;
    sync_if(dir, durability)
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
    let path = dir.join(REDO);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let redo: Redo =
        serde_json::from_slice(&text).map_err(|source| Error::State { path: path.clone(), source })?;
    if redo.version == VERSION { Ok(Some(redo)) } else { Err(damaged(&path, newer(redo.version))) }
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
    let target = read_target(path)?;
    target.map_or_else(|| Ok(Vec::new()), |text| parse(&text).map_err(|problem| damaged(path, problem)))
}

/// What the symbolic link at `path` holds; none if there is nothing.
fn read_target(path: &Path) -> Result<Option<String>> {
    match std::fs::read_link(path) {
        Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            Err(damaged(path, "not a symbolic link".to_owned()))
        }
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn newer(version: u32) -> String {
    format!("version {version}, and this program knows {VERSION}; use the newer program")
}

fn damaged(path: &Path, problem: String) -> Error {
    Error::State { path: path.to_owned(), source: serde_json::Error::custom(problem) }
}
