//! `.envrc`: our lines between two marks, everything else the user's.

mod block;
mod exports;
mod shim;

pub use block::{Edit, Start, block, insert, remove};
pub use exports::exports;
pub use shim::SHIM;
