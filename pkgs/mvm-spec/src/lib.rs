//! The contract of microvm-dev.
//!
//! A VM is a *spec* plus *state*. This crate holds the spec: versioned JSON (camelCase on the wire, unknown fields
//! refused) that NixOS modules and `mvm create` write and every other part reads; the rules a spec must satisfy; its
//! JSON Schema; and the control protocol by which a running embedded guest learns who it is.
//!
//! Nothing here has effects: no files, no processes, no network.

pub mod control;
pub mod egress;
mod error;
pub mod forward;
mod name;
pub mod net;
mod parse;
pub mod v1;
pub mod workload;

pub use error::{SpecError, Violation};
pub use name::{NameError, VmName};
pub use parse::parse;

/// The spec version this code works with; older ones are converted on reading.
pub use v1 as latest;
pub use v1::VmSpec;

/// The JSON Schema (draft 2020-12) of the latest spec, as committed in `docs/reference/spec.schema.json`.
#[cfg(feature = "tool")]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(VmSpec).to_value()
}

/// The JSON Schema (draft 2020-12) of a workload, as committed in `docs/reference/workload.schema.json`.
#[cfg(feature = "tool")]
pub fn workload_schema() -> serde_json::Value {
    schemars::schema_for!(workload::Workload).to_value()
}
