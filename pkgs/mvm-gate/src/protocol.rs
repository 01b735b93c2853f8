//! What is said at the gate: one [`Call`] a connection, one [`Answer`] to it; frames as the keeper's
//! ([`mvm_host::client::write_frame`]), but shorter.

use mvm_host::net::counters::Denied;
use mvm_spec::VmName;
use mvm_spec::forward::Forward;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Longest call, in bytes: a thousand forwards, written out.
pub const CALL_MAX: u32 = 64 * 1024;

/// What can be asked for, always of one declared VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Call {
    /// How to log in to it. Answer: [`Answer::Access`].
    Access {
        /// The VM.
        vm: VmName,
    },
    /// Its forwards. Answer: [`Answer::Forwards`].
    Forwards {
        /// The VM.
        vm: VmName,
    },
    /// More forwards, all of them or none. Answer: [`Answer::Added`].
    Add {
        /// The VM.
        vm: VmName,
        /// As people write them: `8080:3000`.
        forwards: Vec<String>,
    },
    /// Fewer forwards, all of them or none. Answer: [`Answer::Removed`].
    Remove {
        /// The VM.
        vm: VmName,
        /// As people write them; none for all but those that its declaration has.
        forwards: Option<Vec<String>>,
    },
    /// What was refused to it on the network. Answer: [`Answer::Denied`].
    Denied {
        /// The VM.
        vm: VmName,
    },
    /// What it printed. Answer: [`Answer::Logs`], and after that the text, until the end of the stream.
    Logs {
        /// The VM.
        vm: VmName,
        /// What of it.
        what: Log,
        /// The last so many lines; none for all of them.
        lines: Option<u32>,
        /// Whether to go on with what is printed from now on, until the caller leaves.
        follow: bool,
    },
}

/// A log of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Log {
    /// What the guest printed on its console.
    Console,
    /// What its units said, and systemd about them.
    Units,
}

impl Call {
    /// The VM.
    pub fn vm(&self) -> &VmName {
        match self {
            Self::Access { vm }
            | Self::Forwards { vm }
            | Self::Add { vm, .. }
            | Self::Remove { vm, .. }
            | Self::Denied { vm }
            | Self::Logs { vm, .. } => vm,
        }
    }

    /// A word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Access { .. } => "access",
            Self::Forwards { .. } => "forwards",
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::Denied { .. } => "denied",
            Self::Logs { .. } => "logs",
        }
    }
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// How to log in.
    Access(Access),
    /// The VM's forwards, as `mvm port --json` prints them.
    #[serde(rename_all = "camelCase")]
    Forwards {
        /// Whether it runs.
        running: bool,
        /// As [`mvm_ports::list::Listed`] is written.
        forwards: Vec<mvm_ports::list::Listed>,
    },
    /// The forwards are there.
    #[serde(rename_all = "camelCase")]
    Added {
        /// Whether the VM runs, so that they are served.
        running: bool,
        /// What it had not.
        new: Vec<Forward>,
        /// What it had already.
        already: Vec<Forward>,
    },
    /// The forwards are gone.
    #[serde(rename_all = "camelCase")]
    Removed {
        /// Whether the VM runs.
        running: bool,
        /// What is gone.
        removed: Vec<Forward>,
        /// What it did not have.
        absent: Vec<String>,
    },
    /// What was refused to it.
    #[serde(rename_all = "camelCase")]
    Denied {
        /// Since its start; none for one that does not run.
        denied: Option<Denied>,
    },
    /// What it printed follows.
    Logs,
    /// The call failed, or is not for the caller.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// What failed, on what, and what to do.
        message: String,
    },
}

/// How to log in to a VM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Access {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its ordinary user.
    pub user: String,
    /// Its host key, as OpenSSH writes public keys.
    pub host_key: String,
    /// The private key that logs in, as OpenSSH writes private keys.
    pub user_key: String,
}

// Without the key: errors and logs print what they are given.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("address", &self.address)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
