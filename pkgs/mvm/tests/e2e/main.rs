//! Real guests, started by the built `mvm` under emulation, as root and as an ordinary user.
//!
//! Each test has a realm of its own (state, runtime directory, keeper) and, when run by root, a network namespace of its
//! own as its "host", so that nothing reaches the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod access;
mod copy_on_write;
mod harness;
mod host_realm;
mod isolation;
mod projects;
mod run;
mod supervision;
mod warm;
mod workload;
