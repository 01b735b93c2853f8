//! The gate: a small privileged helper by which members of the group `microvm-dev` use VMs that the host's configuration
//! declares, without being root.
//!
//! ```text
//! mvm (a user) ── /run/microvm-dev/gate.sock (mode 0660, group microvm-dev) ── mvm-gate (root)
//! ```
//!
//! It answers a fixed list of calls ([`protocol::Call`]), each about one declared VM, and looks at who asks ([`peer`])
//! before it reads what. Starting and stopping are not among them: those go to systemd, by a polkit rule.
//!
//! What a member gets amounts to: root *in* each declared VM (its login key), and listening on unprivileged ports of the
//! host on the VMs' behalf. It does not amount to root on the host: no call takes a path, a command or a user of the host,
//! and what a VM may do to the host is decided by its declaration alone.

pub mod client;
pub mod journal;
pub mod peer;
pub mod protocol;
pub mod server;

/// Where the gate listens.
pub const SOCKET: &str = "/run/microvm-dev/gate.sock";
/// Whose members it serves.
pub const GROUP: &str = "microvm-dev";
