//! What the proxy and those who control it say to each other, over the proxy's Unix socket.
//!
//! Frames are as between `mvm` and the keeper ([`crate::client::read_frame`]). A connection carries any number of
//! [`Request`]s, one after the other; each is answered by one [`Reply`], [`Request::List`] by one or more.

use mvm_spec::VmName;
use mvm_spec::forward::{Forward, Protocol};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// Most refusals that a reply carries; [`Request::List`] tells all of what is blocked.
pub const REFUSALS_MAX: usize = 4096;
/// Most forwards in one frame of an answer to [`Request::List`].
pub const LIST_MAX: usize = 4096;

/// To the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Request {
    /// Makes the VM's forwards exactly these; those that can't be served now are served as soon as they can be.
    /// Answer: [`Reply::Set`].
    #[serde(rename_all = "camelCase")]
    Set {
        /// The VM.
        vm: VmName,
        /// Its address, where new connections go from now on.
        address: Ipv4Addr,
        /// Its forwards; no port may be 0.
        forwards: Vec<Forward>,
    },
    /// Adds forwards, all or none; what is there already is success. Port 0 of the host is any free port. Answer:
    /// [`Reply::Added`], [`Reply::Refused`], or [`Reply::NotUp`] before the first [`Request::Set`].
    #[serde(rename_all = "camelCase")]
    Add {
        /// The VM.
        vm: VmName,
        /// The forwards.
        forwards: Vec<Forward>,
    },
    /// Removes forwards and closes their connections; what is not there is success. Answer: [`Reply::Removed`].
    #[serde(rename_all = "camelCase")]
    Remove {
        /// The VM.
        vm: VmName,
        /// The forwards.
        forwards: Vec<Forward>,
    },
    /// Forgets the VM, forwards, connections and address. Answer: [`Reply::Removed`].
    #[serde(rename_all = "camelCase")]
    Clear {
        /// The VM.
        vm: VmName,
    },
    /// What is served. Answer: [`Reply::Vms`], until one says that no more follow.
    #[serde(rename_all = "camelCase")]
    List {
        /// Only this VM.
        vm: Option<VmName>,
    },
}

/// From the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Reply {
    /// The forwards are set.
    #[serde(rename_all = "camelCase")]
    Set {
        /// Those that can't be served yet, at most [`REFUSALS_MAX`].
        blocked: Vec<Refusal>,
    },
    /// The forwards are served.
    #[serde(rename_all = "camelCase")]
    Added {
        /// In the order of the request, with the port in place of 0.
        forwards: Vec<Forward>,
    },
    /// The VM has never been set.
    NotUp,
    /// Nothing was changed.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// Why, at most [`REFUSALS_MAX`].
        refusals: Vec<Refusal>,
    },
    /// The forwards are gone.
    #[serde(rename_all = "camelCase")]
    Removed {
        /// Those that were there.
        forwards: Vec<Forward>,
    },
    /// What is served.
    #[serde(rename_all = "camelCase")]
    Vms {
        /// By VM; one with many forwards may come in several parts.
        vms: Vec<VmForwards>,
        /// Whether another reply follows.
        more: bool,
    },
    /// The request makes no sense.
    #[serde(rename_all = "camelCase")]
    Failed {
        /// What is wrong with it.
        message: String,
    },
}

/// A VM and what is served for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmForwards {
    /// The VM.
    pub vm: VmName,
    /// Where its connections go.
    pub address: Ipv4Addr,
    /// Its forwards, in order.
    pub forwards: Vec<Served>,
}

/// A forward and how it fares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Served {
    /// The forward.
    pub forward: Forward,
    /// Why it is not served; none if it is.
    pub blocked: Option<Reason>,
    /// Open connections; for UDP, clients that were heard lately.
    pub connections: u64,
    /// Bytes towards the guest since the forward is served.
    pub bytes_in: u64,
    /// Bytes from the guest.
    pub bytes_out: u64,
}

/// A forward that can't be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// The forward, as in the request.
    pub forward: Forward,
    /// Why.
    pub reason: Reason,
}

/// Why a forward can't be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Reason {
    /// A process of the host listens there.
    #[serde(rename_all = "camelCase")]
    PortTaken {
        /// Which, where that can be seen.
        by: Option<Listener>,
    },
    /// Another forward has the port.
    #[serde(rename_all = "camelCase")]
    Forwarded {
        /// The VM it leads to.
        vm: VmName,
    },
    /// The port needs a privilege that the proxy lacks.
    #[serde(rename_all = "camelCase")]
    Privileged {
        /// The first port that needs none: `net.ipv4.ip_unprivileged_port_start` (ip(7)).
        start: u16,
    },
    /// The host does not have the address.
    NoSuchAddress,
    /// The proxy has as many files open as it may.
    #[serde(rename_all = "camelCase")]
    TooManyFiles {
        /// The limit, `RLIMIT_NOFILE` (getrlimit(2)).
        limit: u64,
    },
    /// Anything else; the system's words.
    Other(String),
}

/// A process that listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Its process id.
    pub pid: i32,
    /// Its name, as in `/proc/PID/comm` (proc(5)).
    pub program: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortTaken { by: Some(Listener { pid, program }) } => write!(
                f,
                "`{program}` (process {pid}) listens there; end it, take another port, or 0 for any free one"
            ),
            Self::PortTaken { by: None } => f.write_str(
                "another process listens there (`sudo ss -lntup` shows which); end it, take another port, or 0 for \
                 any free one",
            ),
            Self::Forwarded { vm } => {
                write!(f, "it leads to VM `{vm}` already; remove that forward, or take another port")
            }
            Self::Privileged { start } => write!(
                f,
                "ports below {start} need privileges; take one from {start} upwards, or have the administrator lower \
                 the sysctl net.ipv4.ip_unprivileged_port_start"
            ),
            Self::NoSuchAddress => {
                f.write_str("the host has no such address; `ip address` shows those it has, 0.0.0.0 is all of them")
            }
            Self::TooManyFiles { limit } => write!(
                f,
                "the proxy has as many files open as it may ({limit}); remove forwards, or raise the hard limit of \
                 open files (`ulimit -Hn`) and start the VMs again"
            ),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto = match self.forward.proto {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        match self.forward.address {
            None => write!(f, "can't forward {proto} port {}: {}", self.forward.host, self.reason),
            Some(address) => {
                write!(f, "can't forward {proto} port {} of {address}: {}", self.forward.host, self.reason)
            }
        }
    }
}
