//! Detection of whole projects, written into a temporary repository.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod devenv;
mod flakes;
mod hints;
mod malformed;
mod support;
mod unknowns;
