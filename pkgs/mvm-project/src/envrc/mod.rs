//! `.envrc`: our lines between two marks, everything else the user's.

mod block;
mod exports;
mod shim;

pub use block::{Edit, block, insert, remove};
pub use exports::{VmStatus, create_command, exports};
pub use shim::SHIM;
