//! Starting a VMM's process, for a VM or for a template.

use super::child::{Child, Launch};
use super::console;
use super::prepare::Prepared;
use crate::boot::accel::Accelerator;
use crate::sandbox::mount::Detached;
use crate::store::StoredVm;
use crate::vmm::{Machine, Origin, Platform, Vmm};
use crate::vmm_process::{BootFiles, VmmConfig};
use crate::{Error, Result};
use nix::unistd::{Gid, Uid};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;

/// Descriptors of children begin here, above the standard ones.
const FIRST_FD: i32 = 10;

/// Host ids of a VM's processes: the project owner's, as far as this realm has them.
pub struct Owner {
    /// User.
    pub uid: Uid,
    /// Group.
    pub gid: Gid,
}

impl Owner {
    /// Those of `stored`.
    pub fn of(stored: &StoredVm) -> Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self { uid: Uid::effective(), gid: Gid::effective() });
        }
        let Some(mvm_spec::latest::Project { path }) = &stored.spec.project else {
            return Ok(Self {
                uid: Uid::from_raw(stored.spec.user.uid),
                gid: Gid::from_raw(stored.spec.user.gid),
            });
        };
        let project = std::fs::metadata(path).map_err(Error::io("examine the project", path))?;
        Ok(Self { uid: Uid::from_raw(project.uid()), gid: Gid::from_raw(project.gid()) })
    }
}

/// Descriptors for a child, numbered as they come.
#[derive(Default)]
pub struct FdTable(pub Vec<(i32, OwnedFd)>);

impl FdTable {
    /// Adds one; returns its number in the child.
    pub fn add(&mut self, fd: impl Into<OwnedFd>) -> i32 {
        let number = FIRST_FD + i32::try_from(self.0.len()).unwrap_or(0);
        self.0.push((number, fd.into()));
        number
    }
}

/// What a VMM's process is given.
pub struct VmmLaunch<'a> {
    /// What it is made of.
    pub prepared: &'a Prepared,
    /// The machine.
    pub machine: &'a Machine,
    /// Who it becomes.
    pub owner: &'a Owner,
    /// Descriptors that the machine names.
    pub fds: FdTable,
    /// The mount with its memory, if that is a file.
    pub memory: Option<Detached>,
    /// Where the guest's console is written.
    pub console: PathBuf,
    /// Where its own messages go.
    pub log: File,
}

impl VmmLaunch<'_> {
    /// Starts it.
    pub fn spawn(mut self) -> Result<Child> {
        let Self { prepared, machine, owner, .. } = self;
        let launch = prepared.qemu.launch(machine)?;
        let text = |text: &std::ffi::OsStr| {
            text.to_str()
                .map(str::to_owned)
                .ok_or_else(|| Error::Failed(format!("{} is not UTF-8", text.display())))
        };
        let boot = || BootFiles {
            kernel: match machine.platform {
                Platform::Microvm => prepared.quick_kernel.clone(),
                Platform::Q35 => prepared.kernel.clone(),
            },
            initramfs: prepared.initramfs.clone(),
        };
        let config = VmmConfig {
            program: launch.program,
            args: launch.args.iter().map(|argument| text(argument)).collect::<Result<_>>()?,
            boot: (!matches!(machine.origin, Origin::Restore { .. })).then(boot),
            memory: self.memory.take().map(|mount| self.fds.add(mount.into_fd())),
            kvm: prepared.accelerator == Accelerator::Kvm,
            uid: owner.uid.as_raw(),
            gid: owner.gid.as_raw(),
            mem_mib: machine.mem_mib,
        };
        let config = json(&config)?;
        let (console_out, console_in) = std::io::pipe().map_err(Error::system("make a pipe"))?;
        let console_out = tokio::net::unix::pipe::Receiver::from_owned_fd(console_out.into())
            .map_err(Error::system("read the console"))?;
        tokio::task::spawn_local(console::copy(console_out, self.console));
        Child::spawn(Launch {
            what: "VMM",
            arguments: ["vmm", &config],
            fds: self.fds.0,
            user: owner.uid,
            stdout: Stdio::from(OwnedFd::from(console_in)),
            stderr: self.log,
        })
    }
}

/// `config` as the argument of a process.
pub fn json(config: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(config)
        .map_err(|error| Error::Failed(format!("can't write a configuration: {error}")))
}
