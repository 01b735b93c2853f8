//! Who reaches whom: real guests, started by the built `mvm`, in a small world of network namespaces that each test
//! makes: a host with an uplink to an "internet" and with a LAN.
//!
//! `tests/network/matrix.toml` is the table of who reaches whom; [`matrix`] tries every cell of it in both realms, and
//! [`page`] makes docs/reference/isolation.md of it. The other modules hold what a table can't say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod agent;
mod cells;
mod dhcp;
mod egress;
mod forwards;
#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "shared with the other guests' tests")]
mod harness;
mod matrix;
mod names;
mod offline;
mod page;
mod peers;
mod per_vm;
mod recovery;
mod sent;
mod table;
mod vms;
mod world;
