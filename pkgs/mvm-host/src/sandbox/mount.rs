//! Mounts by file descriptor: picked up first, put in place later (open_tree(2), fsmount(2), mount_setattr(2)).
//!
//! A mount that is attached nowhere can be prepared (read-only, no devices) before anything can see it, and its
//! source is found before another mount hides it.

use crate::{Error, Result};
use nix::unistd::{Gid, Uid};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// How a mount is restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only, no devices, no set-id programs.
    Read,
    /// Read and write, no devices, no set-id programs.
    Write,
    /// A device node: read and write.
    Device,
}

/// A mount that is attached nowhere yet.
#[derive(Debug)]
pub struct Detached(OwnedFd);

impl Detached {
    /// A copy of what is mounted at `path`, with everything mounted below it.
    ///
    /// Recursive because the kernel refuses to copy a tree without the mounts that a more privileged namespace put
    /// over parts of it (mount_namespaces(7), "locked").
    pub fn tree(path: &Path, access: Access) -> Result<Self> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let tree = Self(open_tree(CWD, path, flags).map_err(|error| Error::io("bind", path)(error.into()))?);
        tree.restrict(access).map_err(Error::io("restrict the mount of", path))?;
        Ok(tree)
    }

    /// A new tmpfs of at most `size` bytes, mode 0755.
    pub fn tmpfs(size: u64) -> Result<Self> {
        let new = || {
            let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&fs, "mode", "0755")?;
            fsconfig_set_string(&fs, "size", size.to_string())?;
            fsconfig_create(&fs)?;
            fsmount(
                &fs,
                FsMountFlags::FSMOUNT_CLOEXEC,
                MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
            )
        };
        new().map(Self).map_err(Error::system("mount a tmpfs"))
    }

    /// An overlay whose attributes live in `user.overlay.*` (`userxattr`), so that it works in a user namespace and
    /// its upper layer can be read by its owner afterwards.
    pub fn overlay(lower: &Path, upper: &Path, work: &Path) -> Result<Self> {
        let new = || {
            let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&fs, "lowerdir", lower)?;
            fsconfig_set_string(&fs, "upperdir", upper)?;
            fsconfig_set_string(&fs, "workdir", work)?;
            fsconfig_set_flag(&fs, "userxattr")?;
            fsconfig_create(&fs)?;
            fsmount(
                &fs,
                FsMountFlags::FSMOUNT_CLOEXEC,
                MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID,
            )
        };
        new().map(Self).map_err(|errno| match errno {
            // What overlayfs answers, with the reason in the kernel's log only.
            rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP => Error::Failed(
                "the state directory's file system can't hold the changes of an overlay (overlayfs itself, as in a \
                 container, NFS and some others can't); set MVM_STATE_DIR to a directory on ext4, xfs, btrfs or tmpfs"
                    .to_owned(),
            ),
            errno => Error::System { action: "mount the project's overlay".to_owned(), source: errno.into() },
        })
    }

    /// Makes the file `name` of `size` bytes, a hole, for the user `uid` and the group `gid` alone, in a file system that was
    /// made here.
    pub fn create(&self, name: &str, size: u64, (uid, gid): (Uid, Gid)) -> Result<File> {
        let new = || -> std::io::Result<File> {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
            let file = File::from(openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?);
            file.set_len(size)?;
            if (uid, gid) != (Uid::effective(), Gid::effective()) {
                std::os::unix::fs::fchown(&file, Some(uid.as_raw()), Some(gid.as_raw()))?;
            }
            Ok(file)
        };
        new().map_err(Error::system(format!("make the file {name} in a tmpfs")))
    }

    /// The mount as a descriptor, to be handed to another process.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// A mount that was handed over.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Puts the mount at `place`, which must exist and be of its kind (directory or file).
    pub fn attach(self, place: &Path) -> Result<()> {
        move_mount(&self.0, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(|error| Error::io("mount", place)(error.into()))
    }

    fn restrict(&self, access: Access) -> std::io::Result<()> {
        let attributes = match access {
            Access::Read => libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID,
            Access::Write => libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID,
            Access::Device => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        };
        // Recursive, so that nothing below stays writable.
        set_attributes(&self.0, attributes, libc::AT_RECURSIVE)
    }
}

/// Whether something is mounted at `path`; what does not exist is no mount point.
pub fn is_mount_point(path: &Path) -> bool {
    let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|meta| meta.dev());
    matches!((device(path), path.parent().and_then(device)), (Some(own), Some(parent)) if own != parent)
}

/// Makes the mount that is attached at `place` read-only, and no other below it.
pub fn freeze(place: &Path) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, place, flags)
        .map_err(std::io::Error::from)
        .and_then(|mount| set_attributes(&mount, libc::MOUNT_ATTR_RDONLY, 0))
        .map_err(Error::io("make read-only", place))
}

/// mount_setattr(2), which rustix has not.
fn set_attributes(mount: &OwnedFd, attr_set: u64, flags: i32) -> std::io::Result<()> {
    let attr = libc::mount_attr { attr_set, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    #[expect(unsafe_code, reason = "a system call without a wrapper; the pointers outlive the call")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
