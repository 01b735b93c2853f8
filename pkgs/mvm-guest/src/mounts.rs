//! The guest's file systems, from the empty initramfs to a whole root.
//!
//! ```text
//! initramfs            /dev /proc /sys /run /tmp   what needs no host, mounted while the guest waits for one ([`prepare`])
//!                      /software   virtiofs, read-only: the host's software
//!                      /overlay    tmpfs: upper/ work/, gone with the machine. What the guest itself adds to its
//!                                  root is written to upper/ before the overlay is mounted: through it, each new
//!                                  file would first be looked for in the software, a round trip to the host
//!                      /newroot    overlay of the two; becomes /
//! /                    /dev /proc /run /sys /tmp   moved over from the initramfs, with all below
//!                      /project    virtiofs: the project's copy
//!                      /home       the home disk, if there is one
//! ```

use anyhow::{Context, bail};
use mvm_spec::control::Shares;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

/// Where the project is mounted.
pub const PROJECT: &str = mvm_spec::v1::PROJECT_MOUNT;
/// This program, for sessions: applets are run from here.
pub const PROGRAM: &str = "/run/mvm/mvm-guest";

/// Where the software is mounted, as long as the initramfs is the root.
pub const SOFTWARE: &str = "/software";
/// The root's upper layer, as long as the initramfs is the root.
pub const UPPER: &str = "/overlay/upper";

const NEW_ROOT: &str = "/newroot";

/// One call of mount(2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Source: a device or a tag; for file systems without one their type.
    pub source: String,
    /// Mount point, made if it is missing.
    pub target: String,
    /// File system type; empty for a bind or a move.
    pub kind: &'static str,
    /// Flags.
    pub flags: MsFlags,
    /// Options of the file system.
    pub options: &'static str,
}

impl Mount {
    fn of(source: &str, target: &str, kind: &'static str) -> Self {
        Self {
            source: source.to_owned(),
            target: target.to_owned(),
            kind,
            flags: MsFlags::empty(),
            options: "",
        }
    }

    fn flags(mut self, flags: MsFlags) -> Self {
        self.flags = flags;
        self
    }

    fn options(mut self, options: &'static str) -> Self {
        self.options = options;
        self
    }

    /// Makes the mount point if need be and mounts. EBUSY, mounted already, is success.
    pub fn apply(&self) -> anyhow::Result<()> {
        let Self { source, target, kind, flags, options } = self;
        let text = |text: &&'static str| (!text.is_empty()).then_some(*text);
        if !Path::new(target).exists() {
            make_dir(target, 0o755)?;
        }
        match mount(Some(source.as_str()), target.as_str(), text(kind), *flags, text(options)) {
            Ok(()) | Err(Errno::EBUSY) => Ok(()),
            // How the kernel answers for a tag that no device has (fs/fuse/virtio_fs.c, virtio_fs_get_tree).
            Err(Errno::EINVAL) if *kind == "virtiofs" => {
                bail!("can't mount {source} at {target}: no virtiofs device has the tag {source}")
            }
            Err(Errno::ENODEV) => {
                bail!(
                    "can't mount {source} at {target}: the kernel knows no {kind}; is its module in the initramfs?"
                )
            }
            Err(errno) => Err(errno).with_context(|| format!("can't mount {source} at {target} ({kind})")),
        }
    }
}

const HARDENED: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// What the initramfs itself needs.
pub fn early() -> [Mount; 3] {
    [
        Mount::of("devtmpfs", "/dev", "devtmpfs").flags(MsFlags::MS_NOSUID),
        Mount::of("proc", "/proc", "proc").flags(HARDENED),
        Mount::of("sysfs", "/sys", "sysfs").flags(HARDENED),
    ]
}

/// What a root needs and no host has to be asked for. Paths are those of the initramfs.
pub fn waiting_plan() -> [Mount; 6] {
    let nosuid_nodev = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    [
        Mount::of("tmpfs", "/overlay", "tmpfs").options("mode=0755"),
        Mount::of("devpts", "/dev/pts", "devpts")
            .flags(MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC)
            .options("gid=5,mode=0620,ptmxmode=0666"),
        Mount::of("tmpfs", "/dev/shm", "tmpfs").flags(nosuid_nodev).options("mode=1777"),
        Mount::of("tmpfs", "/run", "tmpfs").flags(nosuid_nodev).options("mode=0755"),
        Mount::of("tmpfs", "/tmp", "tmpfs").flags(nosuid_nodev).options("mode=1777"),
        Mount::of("cgroup2", "/sys/fs/cgroup", "cgroup2").flags(HARDENED).options("nsdelegate"),
    ]
}

/// The lower layer of the root: the software. Paths are those of the initramfs.
pub fn software(shares: &Shares) -> Mount {
    Mount::of(&shares.software, SOFTWARE, "virtiofs").flags(MsFlags::MS_RDONLY | MsFlags::MS_NODEV)
}

/// The mounts that make of the layers a whole root at [`NEW_ROOT`]. Paths are those of the initramfs.
pub fn root_plan(shares: &Shares) -> Vec<Mount> {
    let nosuid_nodev = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mut plan = vec![
        Mount::of("mvm-root", NEW_ROOT, "overlay")
            .options("lowerdir=/software,upperdir=/overlay/upper,workdir=/overlay/work"),
        Mount::of("/proc", "/newroot/proc", "").flags(MsFlags::MS_MOVE),
        Mount::of("/sys", "/newroot/sys", "").flags(MsFlags::MS_MOVE),
        Mount::of("/dev", "/newroot/dev", "").flags(MsFlags::MS_MOVE),
        Mount::of("/run", "/newroot/run", "").flags(MsFlags::MS_MOVE),
        Mount::of("/tmp", "/newroot/tmp", "").flags(MsFlags::MS_MOVE),
    ];
    if let Some(tag) = &shares.project {
        plan.push(Mount::of(tag, &format!("{NEW_ROOT}{PROJECT}"), "virtiofs").flags(nosuid_nodev));
    }
    plan
}

/// Directories that a root needs, with their modes.
const DIRECTORIES: [(&str, u32); 16] = [
    ("etc", 0o755),
    ("home", 0o755),
    ("root", 0o700),
    ("var", 0o755),
    ("var/tmp", 0o1777),
    ("var/log", 0o755),
    ("var/lib", 0o755),
    ("var/cache", 0o755),
    ("proc", 0o555),
    ("sys", 0o555),
    ("dev", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("srv", 0o755),
];

/// Makes what needs no host: done before the guest waits for one, so that a template has it.
pub fn prepare() -> anyhow::Result<()> {
    for mount in waiting_plan() {
        mount.apply()?;
    }
    make_dir(UPPER, 0o755)?;
    make_dir("/overlay/work", 0o755)?;
    for (path, mode) in DIRECTORIES {
        make_dir(&format!("{UPPER}/{path}"), mode)?;
    }
    link("../run", &format!("{UPPER}/var/run"))?;
    link("../run/lock", &format!("{UPPER}/var/lock"))?;
    link("/proc/self/fd", "/dev/fd")?;
    for (number, name) in ["stdin", "stdout", "stderr"].into_iter().enumerate() {
        link(&format!("fd/{number}"), &format!("/dev/{name}"))?;
    }
    make_dir("/run/lock", 0o1777)?;
    // A bind mount, not a copy: it costs neither time nor memory.
    make_dir("/run/mvm", 0o755)?;
    std::fs::write(PROGRAM, "").with_context(|| format!("can't create {PROGRAM}"))?;
    mount(Some("/init"), PROGRAM, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("can't bind /init to {PROGRAM}"))
}

/// After [`prepare`]: mounts the software, has `populate` write the guest's own files into [`UPPER`], and makes the whole
/// `/`.
pub fn enter_root(shares: &Shares, populate: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    software(shares).apply()?;
    if shares.project.is_some() {
        make_dir(&format!("{UPPER}{PROJECT}"), 0o755)?;
    }
    populate()?;
    for mount in root_plan(shares) {
        mount.apply()?;
    }
    switch_root()
}

fn link(target: &str, path: &str) -> anyhow::Result<()> {
    match symlink(target, path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("can't link {path} to {target}"))
        }
        _ => Ok(()),
    }
}

/// switch_root(8): the initramfs is the kernel's first mount and can't be pivoted away, only covered.
fn switch_root() -> anyhow::Result<()> {
    std::env::set_current_dir(NEW_ROOT).context("can't enter the new root")?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .context("can't move the new root to /")?;
    nix::unistd::chroot(".").context("can't change root")?;
    std::env::set_current_dir("/").context("can't enter /")
}

/// Makes the directory `path` with `mode`, whatever the umask; one that is there stays as it is.
pub fn make_dir(path: &str, mode: u32) -> anyhow::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => std::fs::set_permissions(path, Permissions::from_mode(mode))
            .with_context(|| format!("can't set the mode of {path}")),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent = Path::new(path).parent().and_then(Path::to_str).unwrap_or("/");
            make_dir(parent, 0o755)?;
            make_dir(path, mode)
        }
        Err(error) => Err(error).with_context(|| format!("can't create the directory {path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(project: Option<&str>) -> Shares {
        Shares { software: "soft".to_owned(), project: project.map(str::to_owned) }
    }

    #[test]
    fn the_software_is_mounted_read_only_below_a_throw_away_layer() {
        let software = software(&shares(None));
        assert_eq!(software.source, "soft");
        assert!(software.flags.contains(MsFlags::MS_RDONLY));
        let upper = &waiting_plan()[0];
        assert_eq!(upper.kind, "tmpfs");
        assert!(UPPER.starts_with(&upper.target));
        let overlay = &root_plan(&shares(None))[0];
        assert_eq!(overlay.options, format!("lowerdir={SOFTWARE},upperdir={UPPER},workdir=/overlay/work"));
    }

    #[test]
    fn what_was_made_before_the_host_came_is_moved_into_the_root() {
        let moved: Vec<String> = root_plan(&shares(None))
            .into_iter()
            .filter(|mount| mount.flags.contains(MsFlags::MS_MOVE))
            .map(|mount| mount.source)
            .collect();
        let made = waiting_plan().into_iter().chain(early()).map(|mount| mount.target);
        for place in made.filter(|place| place != "/overlay") {
            assert!(moved.iter().any(|source| place.starts_with(source)), "{place} would stay behind");
        }
    }

    #[test]
    fn the_project_is_mounted_only_if_there_is_one() {
        let target = |plan: Vec<Mount>| plan.iter().any(|mount| mount.target == "/newroot/project");
        assert!(!target(root_plan(&shares(None))));
        assert!(target(root_plan(&shares(Some("project")))));
    }

    #[test]
    fn directories_are_made_with_their_parents_and_modes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        make_dir(path.to_str().unwrap(), 0o1777).unwrap();
        make_dir(path.to_str().unwrap(), 0o700).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o1777);
    }
}
