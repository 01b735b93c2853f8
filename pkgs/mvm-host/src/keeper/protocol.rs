//! What `mvm` and the keeper say to each other, over the keeper's Unix socket.
//!
//! Frames are a big-endian `u32` of the length in bytes, then JSON. A connection carries one [`Request`]; the keeper
//! answers with any number of [`Event`]s, the last of which ends the request ([`Event::is_last`]).

use crate::net::counters::Denied;
use mvm_spec::VmName;
use mvm_spec::workload::ProcessStatus;
use serde::{Deserialize, Serialize};

/// Longest frame, in bytes.
pub const FRAME_MAX: u32 = 4 * 1024 * 1024;

/// From `mvm` to the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Which VMs run. Answer: [`Event::Status`].
    Status,
    /// Start a stored VM. Steps, then [`Event::Started`]; "already running" is success.
    #[serde(rename_all = "camelCase")]
    Start {
        /// The VM.
        name: VmName,
        /// Keep the VM only as long as this connection: when it closes, the VM is killed and deleted.
        lease: bool,
        /// Boot it, instead of making it from a template.
        #[serde(default)]
        cold: bool,
    },
    /// Stop a VM. Steps, then [`Event::Stopped`]; "not running" is success.
    #[serde(rename_all = "camelCase")]
    Stop {
        /// The VM.
        name: VmName,
        /// Kill the VMM instead of asking the guest.
        force: bool,
        /// How long the guest may take, in milliseconds, before the VMM is killed.
        timeout_ms: u64,
    },
    /// What was refused to a running VM on the network. Answer: [`Event::Denied`].
    #[serde(rename_all = "camelCase")]
    Denied {
        /// The VM.
        name: VmName,
    },
    /// How the processes of a VM's workload are. Answer: [`Event::Processes`].
    #[serde(rename_all = "camelCase")]
    Processes {
        /// The VM.
        name: VmName,
    },
    /// Run the stored workload of a VM instead of what runs. Answer: [`Event::Applied`]; "does not run" is success.
    #[serde(rename_all = "camelCase")]
    ApplyWorkload {
        /// The VM.
        name: VmName,
    },
    /// Put a declared VM, whose tap is there, on the network, and forward its ports. Answer: [`Event::Attached`]; "on it
    /// already" is success.
    #[serde(rename_all = "camelCase")]
    Attach {
        /// The VM.
        name: VmName,
    },
    /// Take a declared VM off the network. Answer: [`Event::Detached`]; "not on it" is success.
    #[serde(rename_all = "camelCase")]
    Detach {
        /// The VM.
        name: VmName,
    },
    /// Connect to the SSH server of a running VM: after [`Event::Connected`] the connection carries raw bytes.
    #[serde(rename_all = "camelCase")]
    Ssh {
        /// The VM.
        name: VmName,
    },
}

/// From the keeper to `mvm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// Something begins; a few words for a spinner.
    #[serde(rename_all = "camelCase")]
    Step {
        /// What begins.
        text: String,
    },
    /// Something the user should know.
    #[serde(rename_all = "camelCase")]
    Warning {
        /// What is wrong and what to do.
        text: String,
    },
    /// Which VMs run.
    #[serde(rename_all = "camelCase")]
    Status {
        /// The keeper's process id, as the host sees it.
        keeper_pid: i32,
        /// Those that run or are starting or stopping.
        vms: Vec<RunningVm>,
    },
    /// The VM runs, its SSH server answers.
    #[serde(rename_all = "camelCase")]
    Started {
        /// Whether it ran already.
        already: bool,
        /// Where the time went, in order.
        timings: Vec<Timing>,
        /// What the curious may like to know: why it was booted, and not made from a template.
        #[serde(default)]
        notes: Vec<String>,
    },
    /// The VM does not run.
    #[serde(rename_all = "camelCase")]
    Stopped {
        /// Whether it was stopped already.
        already: bool,
        /// Whether the guest did not end in time and the VMM was killed.
        killed: bool,
    },
    /// What was refused to a VM on the network.
    #[serde(rename_all = "camelCase")]
    Denied {
        /// Since its start; none for a VM that does not run, has no network, or whose packets nobody counts.
        denied: Option<Denied>,
    },
    /// How the processes of a VM's workload are.
    #[serde(rename_all = "camelCase")]
    Processes {
        /// Those of a running VM; none of another.
        processes: Vec<ProcessStatus>,
    },
    /// The guest has the stored workload.
    #[serde(rename_all = "camelCase")]
    Applied {
        /// Whether the VM runs; one that does not gets it when it starts.
        running: bool,
    },
    /// The VM is on the network.
    #[serde(rename_all = "camelCase")]
    Attached {
        /// What the user should know: ports that can't be forwarded now, say.
        warnings: Vec<String>,
    },
    /// The VM is not on the network.
    Detached,
    /// Raw bytes follow.
    Connected,
    /// The request failed.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// What failed, on what, and what to do.
        message: String,
        /// Last lines of the guest's console, if it did not come up.
        console: Vec<String>,
    },
}

impl Event {
    /// Whether nothing follows this event.
    pub fn is_last(&self) -> bool {
        !matches!(self, Self::Step { .. } | Self::Warning { .. })
    }
}

/// Where time went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timing {
    /// The step.
    pub step: String,
    /// How long it took, in microseconds.
    pub took_us: u64,
}

/// A VM that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunningVm {
    /// Its name.
    pub name: VmName,
    /// How far it is.
    pub phase: Phase,
    /// When it was started, in seconds since 1970.
    pub started_at: u64,
    /// Process id of the VMM, as the host sees it.
    pub vmm_pid: Option<i32>,
    /// Process id of the file server, as the host sees it.
    pub fs_pid: Option<i32>,
    /// The acceleration in use: `kvm` or `tcg`.
    pub accel: String,
    /// Whether it was made from a template.
    pub warm: bool,
}

/// How far a running VM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Booting.
    Starting,
    /// Its SSH server answers.
    Running,
    /// Ending.
    Stopping,
}
