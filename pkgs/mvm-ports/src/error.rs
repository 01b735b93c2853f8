//! Why forwards can't be as asked for, each with what to do about it.

use mvm_spec::VmName;
use mvm_spec::forward::Forward;

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another VM has the port.
    #[error("port {} is taken by VM {vm} ({held}); choose another, or 0 for any free one", wanted.host_side())]
    TakenByVm {
        /// What was asked for.
        wanted: Forward,
        /// The other VM.
        vm: VmName,
        /// Its forward.
        held: Forward,
    },
    /// The VM itself has the port, for something else.
    #[error(
        "VM {vm} has the forward {held} already; {}, or choose another port than {}",
        if *declared { "it comes from the VM's spec and stays as long as the VM".to_owned() }
        else { format!("remove it first (mvm port {vm} --remove {held})") },
        wanted.host_side()
    )]
    TakenBySelf {
        /// What was asked for.
        wanted: Forward,
        /// The VM.
        vm: VmName,
        /// What it has.
        held: Forward,
        /// Whether that comes from its spec.
        declared: bool,
    },
    /// One command asks for a port twice.
    #[error("{first} and {second} both take port {} of the host; leave one out", second.host_side())]
    Twice {
        /// The earlier one.
        first: Forward,
        /// The later one.
        second: Forward,
    },
    /// The host does not give the port.
    #[error("{forward} is not possible: {reason}")]
    Unavailable {
        /// What was asked for.
        forward: Forward,
        /// Why not, and what to do.
        reason: String,
    },
    /// No port is free.
    #[error("no port of the host is free for {forward}; name one, or remove forwards that nobody needs")]
    NoneFree {
        /// What was asked for.
        forward: Forward,
    },
    /// What comes from the spec stays.
    #[error(
        "{forward} of VM {vm} comes from the VM's spec and stays as long as the VM; change the spec instead"
    )]
    Declared {
        /// The VM.
        vm: VmName,
        /// What was to be removed.
        forward: Forward,
    },
    /// A VM without a network.
    #[error("VM {0} has no network, so nothing can be forwarded to it; make one without --no-network")]
    NoNetwork(VmName),
    /// The proxy does not answer.
    #[error(
        "the proxy of port forwards has not answered for {seconds} s; stop all VMs and start them again if it stays so"
    )]
    Silent {
        /// How long it had, in seconds.
        seconds: u64,
    },
    /// The change failed, and taking it back failed as well.
    #[error("{first}; and what was done could not be undone ({second}): mvm-ports sync mends it")]
    NotUndone {
        /// Why the change failed.
        first: Box<Error>,
        /// Why it stays half done.
        second: Box<Error>,
    },
    /// An effect on the host failed.
    #[error(transparent)]
    Host(#[from] mvm_host::Error),
}
