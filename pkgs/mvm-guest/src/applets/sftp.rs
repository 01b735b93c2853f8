//! The SFTP server (draft-ietf-secsh-filexfer-02, version 3, and OpenSSH's extensions): file access as the session's
//! user, on standard input and output.

use anyhow::Context;
use russh_sftp::extensions::{
    ExpandPathExtension, FsyncExtension, HardlinkExtension, LimitsExtension, Statvfs, StatvfsExtension,
};
use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, File as Entry, FileAttributes, Handle, Name, OpenFlags, Packet, Status,
    StatusCode, Version,
};
use russh_sftp::server::{Handler, StatusReply};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions, Permissions, ReadDir};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink,
};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

/// Longest read or write of one request, in bytes: OpenSSH's.
const TRANSFER_MAX: u32 = 255 * 1024;
/// Longest packet, in bytes.
const PACKET_MAX: u32 = 256 * 1024;
const HANDLES_MAX: usize = 512;
/// Entries of a directory told at a time.
const NAMES_AT_ONCE: usize = 256;

const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// Serves SFTP until standard input ends.
pub fn serve() -> anyhow::Result<()> {
    let duplicate = |descriptor: std::os::fd::BorrowedFd<'_>| descriptor.try_clone_to_owned();
    let input: OwnedFd = duplicate(io::stdin().as_fd()).context("there is no standard input")?;
    let output: OwnedFd = duplicate(io::stdout().as_fd()).context("there is no standard output")?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?
        .block_on(async {
            let (done, is_done) = oneshot::channel();
            let stream = Stdio {
                input: pipe::Receiver::from_owned_fd(input).context("standard input is no pipe")?,
                output: pipe::Sender::from_owned_fd(output).context("standard output is no pipe")?,
                _done: done,
            };
            let config = russh_sftp::server::Config { max_client_packet_len: PACKET_MAX };
            russh_sftp::server::run_with_config(stream, Server::default(), config).await;
            // The library serves on a task of its own, whose end shows in the stream being dropped.
            let _ = is_done.await;
            Ok(())
        })
}

struct Stdio {
    input: pipe::Receiver,
    output: pipe::Sender,
    _done: oneshot::Sender<()>,
}

impl AsyncRead for Stdio {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.input).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stdio {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.output).poll_write(context, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_shutdown(context)
    }
}

/// What a handle stands for.
enum Open {
    File(File),
    Dir { path: PathBuf, entries: ReadDir },
}

/// The server's state: its open handles.
#[derive(Default)]
struct Server {
    open: HashMap<String, Open>,
    next: u64,
}

impl Server {
    fn insert(&mut self, id: u32, open: Open) -> Result<Handle, StatusReply> {
        if self.open.len() >= HANDLES_MAX {
            return Err(StatusCode::Failure.with_message("too many open files"));
        }
        let handle = self.next.to_string();
        self.next += 1;
        self.open.insert(handle.clone(), open);
        Ok(Handle { id, handle })
    }

    fn file(&self, handle: &str) -> Result<&File, StatusReply> {
        match self.open.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(StatusCode::Failure.with_message("no such handle")),
        }
    }
}

fn failed(error: impl Into<io::Error>) -> StatusReply {
    let error = error.into();
    let code = match error.kind() {
        io::ErrorKind::NotFound => StatusCode::NoSuchFile,
        io::ErrorKind::PermissionDenied => StatusCode::PermissionDenied,
        _ => StatusCode::Failure,
    };
    code.with_message(error.to_string())
}

fn ok(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Success".to_owned(),
        language_tag: "en".to_owned(),
    }
}

fn attributes(metadata: &Metadata) -> FileAttributes {
    // Times before 1970 and after 2106 don't fit this version's 32 bits.
    let time = |seconds: i64| Some(u32::try_from(seconds).unwrap_or(if seconds < 0 { 0 } else { u32::MAX }));
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: time(metadata.atime()),
        mtime: time(metadata.mtime()),
        ..FileAttributes::empty()
    }
}

/// Sets what `attributes` holds on the file at `path`; the size first, as it changes times, and the owner before the
/// mode, as it clears set-id bits.
fn set_attributes(path: &Path, attributes: &FileAttributes) -> Result<(), StatusReply> {
    if let Some(size) = attributes.size {
        OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(size)).map_err(failed)?;
    }
    if attributes.uid.is_some() || attributes.gid.is_some() {
        chown(path, attributes.uid, attributes.gid).map_err(failed)?;
    }
    if let Some(mode) = attributes.permissions {
        std::fs::set_permissions(path, Permissions::from_mode(mode & 0o7777)).map_err(failed)?;
    }
    if let (Some(atime), Some(mtime)) = (attributes.atime, attributes.mtime) {
        set_times(path, atime, mtime, nix::sys::stat::UtimensatFlags::FollowSymlink)?;
    }
    Ok(())
}

fn set_times(
    path: &Path,
    atime: u32,
    mtime: u32,
    flags: nix::sys::stat::UtimensatFlags,
) -> Result<(), StatusReply> {
    let time = |seconds: u32| nix::sys::time::TimeSpec::new(i64::from(seconds), 0);
    nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, path, &time(atime), &time(mtime), flags).map_err(failed)
}

/// The absolute form of `path` without `.` and `..`, following links where they exist (realpath(3), and for the rest by
/// its text, as OpenSSH's server does).
fn real_path(path: &str) -> io::Result<PathBuf> {
    let path = std::path::absolute(if path.is_empty() { "." } else { path })?;
    if let Ok(real) = std::fs::canonicalize(&path) {
        return Ok(real);
    }
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                plain.pop();
            }
            std::path::Component::CurDir => {}
            part => plain.push(part),
        }
    }
    Ok(plain)
}

/// A path that begins with `~` or `~/`, with the home directory in place; any other as it is.
fn expand(path: &str, home: Option<&str>) -> String {
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => format!("{home}{rest}"),
        _ => path.to_owned(),
    }
}

fn names(id: u32, path: &Path) -> Name {
    Name { id, files: vec![Entry::dummy(path.to_string_lossy())] }
}

fn decode<'a, T: Deserialize<'a>>(data: Vec<u8>, buffer: &'a mut bytes::Bytes) -> Result<T, StatusReply> {
    *buffer = bytes::Bytes::from(data);
    russh_sftp::de::from_bytes(buffer).map_err(|error| StatusCode::BadMessage.with_message(error.to_string()))
}

fn reply(id: u32, value: &impl serde::Serialize) -> Result<Packet, StatusReply> {
    let data = russh_sftp::ser::to_bytes(value)
        .map_err(|error| StatusCode::Failure.with_message(error.to_string()))?;
    Ok(Packet::ExtendedReply(ExtendedReply { id, data: data.to_vec() }))
}

fn statvfs(path: &str) -> Result<Statvfs, StatusReply> {
    let found = nix::sys::statvfs::statvfs(path).map_err(failed)?;
    Ok(Statvfs {
        block_size: found.block_size(),
        fragment_size: found.fragment_size(),
        blocks: found.blocks(),
        blocks_free: found.blocks_free(),
        blocks_avail: found.blocks_available(),
        inodes: found.files(),
        inodes_free: found.files_free(),
        inodes_avail: found.files_available(),
        fs_id: found.filesystem_id(),
        // The protocol's own flags: 1 read-only, 2 no set-id (OpenSSH's PROTOCOL, 4.3).
        flags: u64::from(found.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
            | u64::from(found.flags().contains(nix::sys::statvfs::FsFlags::ST_NOSUID)) << 1,
        name_max: found.name_max(),
    })
}

impl Handler for Server {
    type Error = StatusReply;

    fn unimplemented(&self) -> Self::Error {
        StatusCode::OpUnsupported.into()
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, Self::Error> {
        use russh_sftp::extensions::{EXPAND_PATH, FSYNC, HARDLINK, LIMITS, STATVFS};
        let mut version = Version::new();
        for (name, revision) in [
            (POSIX_RENAME, "1"),
            (STATVFS, "2"),
            (HARDLINK, "1"),
            (FSYNC, "1"),
            (LIMITS, "1"),
            (EXPAND_PATH, "1"),
        ] {
            version.extensions.insert(name.to_owned(), revision.to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> Result<Handle, Self::Error> {
        let mut options = OpenOptions::from(pflags);
        options.mode(attrs.permissions.unwrap_or(0o666) & 0o7777);
        let file = options.open(&filename).map_err(failed)?;
        self.insert(id, Open::File(file))
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Self::Error> {
        match self.open.remove(&handle) {
            Some(_) => Ok(ok(id)),
            None => Err(StatusCode::Failure.with_message("no such handle")),
        }
    }

    async fn read(&mut self, id: u32, handle: String, offset: u64, len: u32) -> Result<Data, Self::Error> {
        let file = self.file(&handle)?;
        let mut data = vec![0; len.min(TRANSFER_MAX) as usize];
        let mut filled = 0;
        // A short answer means the end of the file to some clients.
        while filled < data.len() {
            match file.read_at(&mut data[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        if filled == 0 && len > 0 {
            return Err(StatusCode::Eof.into());
        }
        data.truncate(filled);
        Ok(Data { id, data })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Self::Error> {
        self.file(&handle)?.write_all_at(&data, offset).map_err(failed)?;
        Ok(ok(id))
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let metadata = std::fs::symlink_metadata(path).map_err(failed)?;
        Ok(Attrs { id, attrs: attributes(&metadata) })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Self::Error> {
        let metadata = std::fs::metadata(path).map_err(failed)?;
        Ok(Attrs { id, attrs: attributes(&metadata) })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Self::Error> {
        let metadata = self.file(&handle)?.metadata().map_err(failed)?;
        Ok(Attrs { id, attrs: attributes(&metadata) })
    }

    async fn setstat(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Self::Error> {
        set_attributes(Path::new(&path), &attrs)?;
        Ok(ok(id))
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, Self::Error> {
        use std::os::fd::AsRawFd;
        // By descriptor, so that a file renamed or removed meanwhile is still the one.
        let path = format!("/proc/self/fd/{}", self.file(&handle)?.as_raw_fd());
        set_attributes(Path::new(&path), &attrs)?;
        Ok(ok(id))
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Self::Error> {
        let path = PathBuf::from(path);
        let entries = std::fs::read_dir(&path).map_err(failed)?;
        self.insert(id, Open::Dir { path, entries })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Self::Error> {
        let Some(Open::Dir { path, entries }) = self.open.get_mut(&handle) else {
            return Err(StatusCode::Failure.with_message("no such handle"));
        };
        let mut files = Vec::new();
        for entry in entries.by_ref().take(NAMES_AT_ONCE) {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            // One that was removed meanwhile is simply not there.
            if let Ok(metadata) = std::fs::symlink_metadata(path.join(&name)) {
                let mut entry = Entry::new(name.to_string_lossy(), attributes(&metadata));
                if metadata.is_symlink() && entry.longname.starts_with('-') {
                    // The library's listing tells only directories from the rest.
                    entry.longname.replace_range(..1, "l");
                }
                files.push(entry);
            }
        }
        if files.is_empty() { Err(StatusCode::Eof.into()) } else { Ok(Name { id, files }) }
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Self::Error> {
        std::fs::remove_file(filename).map_err(failed)?;
        Ok(ok(id))
    }

    async fn mkdir(&mut self, id: u32, path: String, attrs: FileAttributes) -> Result<Status, Self::Error> {
        let mode = attrs.permissions.unwrap_or(0o777) & 0o7777;
        std::fs::DirBuilder::new().mode(mode).create(path).map_err(failed)?;
        Ok(ok(id))
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Self::Error> {
        std::fs::remove_dir(path).map_err(failed)?;
        Ok(ok(id))
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        Ok(names(id, &real_path(&path).map_err(failed)?))
    }

    async fn rename(&mut self, id: u32, oldpath: String, newpath: String) -> Result<Status, Self::Error> {
        // The plain request must not replace a file (draft, 6.5).
        nix::fcntl::renameat2(
            nix::fcntl::AT_FDCWD,
            oldpath.as_str(),
            nix::fcntl::AT_FDCWD,
            newpath.as_str(),
            nix::fcntl::RenameFlags::RENAME_NOREPLACE,
        )
        .map_err(failed)?;
        Ok(ok(id))
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Self::Error> {
        Ok(names(id, &std::fs::read_link(path).map_err(failed)?))
    }

    async fn symlink(
        &mut self,
        id: u32,
        linkpath: String,
        targetpath: String,
    ) -> Result<Status, Self::Error> {
        // OpenSSH sends the two the other way round than the draft says (its PROTOCOL, 4.1), and so does everyone.
        symlink(linkpath, targetpath).map_err(failed)?;
        Ok(ok(id))
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, Self::Error> {
        use russh_sftp::extensions::{EXPAND_PATH, FSYNC, HARDLINK, LIMITS, STATVFS};
        let mut buffer = bytes::Bytes::new();
        match request.as_str() {
            POSIX_RENAME => {
                let HardlinkExtension { oldpath, newpath } = decode(data, &mut buffer)?;
                std::fs::rename(oldpath, newpath).map_err(failed)?;
                Ok(Packet::Status(ok(id)))
            }
            HARDLINK => {
                let HardlinkExtension { oldpath, newpath } = decode(data, &mut buffer)?;
                std::fs::hard_link(oldpath, newpath).map_err(failed)?;
                Ok(Packet::Status(ok(id)))
            }
            FSYNC => {
                let FsyncExtension { handle } = decode(data, &mut buffer)?;
                self.file(&handle)?.sync_all().map_err(failed)?;
                Ok(Packet::Status(ok(id)))
            }
            STATVFS => {
                let StatvfsExtension { path } = decode(data, &mut buffer)?;
                reply(id, &statvfs(&path)?)
            }
            EXPAND_PATH => {
                let ExpandPathExtension { path } = decode(data, &mut buffer)?;
                let path = expand(&path, std::env::var("HOME").ok().as_deref());
                Ok(Packet::Name(names(id, &real_path(&path).map_err(failed)?)))
            }
            LIMITS => reply(
                id,
                &LimitsExtension {
                    max_packet_len: u64::from(PACKET_MAX),
                    max_read_len: u64::from(TRANSFER_MAX),
                    max_write_len: u64::from(TRANSFER_MAX),
                    max_open_handles: HANDLES_MAX as u64,
                },
            ),
            _ => Err(self.unimplemented()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute_whether_or_not_they_exist() {
        assert_eq!(real_path("/").unwrap(), Path::new("/"));
        assert_eq!(real_path("").unwrap(), std::env::current_dir().unwrap().canonicalize().unwrap());
        assert_eq!(real_path("/nonexistent/a/../b/./c").unwrap(), Path::new("/nonexistent/b/c"));
        assert_eq!(real_path("/../..").unwrap(), Path::new("/"));
    }

    #[test]
    fn a_tilde_stands_for_home_only_as_a_whole_component() {
        assert_eq!(expand("~", Some("/home/dev")), "/home/dev");
        assert_eq!(expand("~/x", Some("/home/dev")), "/home/dev/x");
        assert_eq!(expand("~other/x", Some("/home/dev")), "~other/x");
        assert_eq!(expand("/~", Some("/home/dev")), "/~");
        assert_eq!(expand("~/x", None), "~/x");
    }
}
