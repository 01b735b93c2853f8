//! Virtual machine monitors.

pub mod qemu;
pub mod qmp;

use crate::Result;
use crate::boot::accel::Accelerator;
use mvm_spec::net::MacAddr;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// A monitor that runs a guest as one process of its own, in the foreground, until the guest ends.
///
/// An implementor answers four questions:
///
/// - *Which monitor is this?* ([`version`](Self::version)) Results of probes are kept by the answer.
/// - *How is it called for this machine?* ([`launch`](Self::launch)) The answer only depends on the machine, opens
///   nothing and changes nothing; the caller sets up descriptors, privileges and the view of the file system.
/// - *How does it make many machines of one?* ([`plug`](Self::plug)) A machine with [`Origin::Template`] can be saved by
///   the monitor's own channel; one with [`Origin::Restore`] waits there for what was saved.
/// - *What does the process need?* Nothing but the files of the machine, `/dev/kvm` if it is to use it, its own program,
///   libraries and firmware, and the descriptors that the machine names. It reads no configuration, and opens no
///   socket. Standard output is the guest's serial console, standard error is for its own messages; standard input
///   ends at once. A guest that powers off or reboots ends the process.
pub trait Vmm {
    /// Name and version.
    ///
    /// # Errors
    /// The program does not run.
    fn version(&self) -> Result<String>;

    /// The call that runs `machine`.
    ///
    /// # Errors
    /// The monitor can't run such a machine.
    fn launch(&self, machine: &Machine) -> Result<Launch>;

    /// The commands on its own channel ([`Machine::qmp`]) by which a restored `machine` ([`Origin::Restore`]) gets the
    /// devices that were not part of its template, in order: name and arguments.
    fn plug(&self, machine: &Machine) -> Vec<(&'static str, serde_json::Value)>;
}

/// A machine as its guest sees it.
///
/// Descriptors are numbers in the monitor's process: open there, under that number, without close-on-exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The VM's name, for lists of processes.
    pub name: String,
    /// Virtual processors.
    pub vcpu: u32,
    /// Memory, in MiB.
    pub mem_mib: u64,
    /// How the guest is run.
    pub accelerator: Accelerator,
    /// The kind of board.
    pub platform: Platform,
    /// How its life begins.
    pub origin: Origin,
    /// The kernel's image.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// Rate of the host's time stamp counter, in kHz; an emulated guest needs it to boot on a busy host.
    pub tsc_khz: Option<u64>,
    /// Further words of the kernel command line.
    pub extra_cmdline: Vec<String>,
    /// Directories shared by file servers.
    pub shares: Vec<Share>,
    /// The network interface. A template has one if the machines that are made of it have.
    pub tap: Option<Tap>,
    /// The home disk: an image file, open for reading and writing.
    pub home: Option<RawFd>,
    /// The other end of the guest's port [`mvm_spec::control::PORT_NAME`]: a connected Unix stream socket.
    pub mux: RawFd,
    /// A connected Unix stream socket on which the monitor takes its own commands (of QEMU: QMP).
    pub qmp: Option<RawFd>,
}

/// How the life of a machine begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its kernel boots.
    Boot,
    /// Its kernel boots, and then the machine is saved. Its memory is the file at this path.
    Template {
        /// The file.
        memory: PathBuf,
    },
    /// From what was saved of a template. Shares and home disk are prepared, and plugged in when it runs; all else is as in
    /// the template.
    Restore {
        /// The file that is its memory, with the template's content by the time it runs.
        memory: PathBuf,
    },
}

/// The kind of board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// virtio and little else: boots quickest.
    Microvm,
    /// A PC: boots where the other does not.
    Q35,
}

/// A directory that a file server shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The virtiofs tag, at most 36 bytes.
    pub tag: String,
    /// A Unix stream socket connected to the vhost-user server.
    pub fd: RawFd,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tap {
    /// The tap device, open with `IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`: by the last of these, guests may leave checksums and
    /// the cutting of packets to the host.
    pub fd: RawFd,
    /// The guest's address. A restored machine has its template's until its guest takes its own.
    pub mac: MacAddr,
}

/// How a monitor is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}
