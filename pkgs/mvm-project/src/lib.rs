//! What a project needs, found out without running any of it.
//!
//! [`detect::detect`] reads a project's files and returns the facts ([`project::Project`]), each with its place and how
//! sure it is; what can't be known is listed, not guessed.

pub mod cli;
mod data;
pub mod detect;
pub mod envrc;
mod error;
pub mod evaluate;
mod files;
mod modules;
mod nix;
pub mod plan;
mod position;
pub mod project;
pub mod quote;
pub mod services;
pub mod vm;
pub mod watch;
mod yaml;

pub use error::{Error, FileError, Result};
pub use position::Position;
