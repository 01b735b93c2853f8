//! Port forwards: what `mvm port`, `mvm create --port` and units do with them.
//!
//! [`plan`] decides without looking at anything but what VMs have; [`listeners`] asks the host whether a port can be
//! had; [`change`] puts both together with the store and the realm's proxy into one transaction; [`sync`] makes what is
//! served be what is stored.

pub mod change;
pub mod error;
pub mod list;
pub mod listeners;
pub mod maps;
pub mod plan;
pub mod removal;
pub mod serving;
pub mod sync;

pub use error::{Error, Result};
