//! What the programs that face a guest may see and do.
//!
//! The VMM and the file server each run in a view of their own: a mount namespace whose root is a small tmpfs with
//! exactly the files they need, an empty network namespace, a process namespace in which they are alone, no
//! capability, `no_new_privs`, resource limits, and (each by its own means) a seccomp filter. A program that a guest
//! takes over then has nothing to go on with: no file of the host to write, no network, nobody to signal.

pub mod limits;
pub mod mount;
pub mod privileges;
pub mod scope;
pub mod signal;
pub mod view;
