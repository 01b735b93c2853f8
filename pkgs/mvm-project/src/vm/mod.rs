//! From a plan to a VM that runs, by calls of `mvm`.

mod asked;
mod host;
mod mvm;
mod ports;
mod reach;
mod reconcile;
mod run;
mod status;

pub use host::{Host, Missing, ThisHost, missing};
pub use mvm::{Mvm, Program, Said};
pub use ports::Taken;
pub use reach::reach;
pub use reconcile::{Change, reconcile};
pub use run::{Up, compare, workload};
pub use status::{VmStatus, status};
