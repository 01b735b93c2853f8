//! The process that becomes the VMM: `mvm internal vmm CONFIG` builds a view with what the VMM needs, gives up every
//! privilege, and executes it.

use crate::sandbox::mount::{Access, Detached};
use crate::sandbox::view::{self, Software, View};
use crate::sandbox::{limits::Limits, privileges};
use crate::{Error, Result};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

/// Where the VMM finds the kernel image.
pub const KERNEL: &str = "/boot/kernel";
/// Where the VMM finds the initramfs.
pub const INITRAMFS: &str = "/boot/initramfs";
/// Where the VMM finds the file system with the guest's memory, if that is a file.
const MEMORY_DIR: &str = "/memory";
/// The file in it, by its name there and in the view.
pub const MEMORY: (&str, &str) = ("guest", "/memory/guest");
/// Bytes of files of its own that the view may hold.
const VIEW_SIZE: u64 = 1 << 20;

/// What to execute, and what it may see; the argument of the process, in JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmmConfig {
    /// The VMM.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// What the guest boots; none for a guest that is restored.
    pub boot: Option<BootFiles>,
    /// Descriptor of a mount with the guest's memory, as [`Detached::into_fd`] gives it; none for memory of the VMM's own.
    pub memory: Option<RawFd>,
    /// Whether it may use `/dev/kvm`.
    pub kvm: bool,
    /// Host user and group that it becomes.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The guest's memory, in MiB.
    pub mem_mib: u64,
}

/// What a guest boots.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootFiles {
    /// The kernel image, put at [`KERNEL`].
    pub kernel: PathBuf,
    /// The initramfs, put at [`INITRAMFS`].
    pub initramfs: PathBuf,
}

/// The process.
pub fn main(config: &str) -> Result<()> {
    let config: VmmConfig = serde_json::from_str(config)
        .map_err(|error| Error::Failed(format!("VMM process: bad config: {error}")))?;
    view::unshare()?;
    build_view(&config)?.enter()?;
    if !config.kvm {
        // QEMU asks for huge pages for the code it translates, most of which it never fills: 5 MB of an idle guest's, and
        // no program that we tried ran slower without. Whether it works or not is of no consequence.
        let _ = nix::sys::prctl::set_thp_disable(true);
    }
    Limits::vmm(config.mem_mib).apply()?;
    privileges::give_up(Uid::from_raw(config.uid), Gid::from_raw(config.gid))?;
    let error = std::process::Command::new(&config.program).args(&config.args).env_clear().exec();
    Err(Error::io("execute the VMM", &config.program)(error))
}

fn build_view(config: &VmmConfig) -> Result<View> {
    let software = Software::of_host(Path::new("/"));
    let trees = software.pick_up()?;
    let mut files = Vec::new();
    if let Some(BootFiles { kernel, initramfs }) = &config.boot {
        for (source, place) in [(kernel.as_path(), KERNEL), (initramfs.as_path(), INITRAMFS)] {
            files.push((place.to_owned(), Detached::tree(source, Access::Read)?));
        }
    }
    for optional in ["/etc/ld.so.cache"] {
        if Path::new(optional).is_file() {
            files.push((optional.to_owned(), Detached::tree(Path::new(optional), Access::Read)?));
        }
    }
    let kvm = config.kvm.then_some("/dev/kvm");
    for device in ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"].into_iter().chain(kvm) {
        files.push((device.to_owned(), Detached::tree(Path::new(device), Access::Device)?));
    }
    let alternatives = Path::new("/etc/alternatives");
    let alternatives =
        alternatives.is_dir().then(|| Detached::tree(alternatives, Access::Read)).transpose()?;
    // A VMM outside the shared directories (a build of one's own) is brought in by itself.
    let program = (!software.dirs.iter().any(|dir| config.program.starts_with(dir)))
        .then(|| Detached::tree(&config.program, Access::Read))
        .transpose()?;

    let view = View::new(VIEW_SIZE)?;
    software.put(&view, "", trees)?;
    for (place, file) in files {
        view.mount_file(&place, file)?;
    }
    if let Some(alternatives) = alternatives {
        view.mount_dir("/etc/alternatives", alternatives)?;
    }
    if let (Some(program), Some(place)) = (program, config.program.to_str()) {
        view.mount_file(place, program)?;
    }
    if let Some(memory) = config.memory {
        #[expect(unsafe_code, reason = "the descriptor was passed to this process for this alone")]
        let memory = unsafe { OwnedFd::from_raw_fd(memory) };
        view.mount_dir(MEMORY_DIR, Detached::from_fd(memory))?;
    }
    view.dir("/var/tmp")?;
    view.dir("/tmp")?;
    Ok(view)
}
