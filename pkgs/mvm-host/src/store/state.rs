//! What changes in the life of a VM.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;

/// What changes in the life of a VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmState {
    /// Version of this format: 1.
    pub version: u32,
    /// When the VM was made, in seconds since 1970.
    pub created_at: u64,
    /// The guest's `/etc/machine-id`.
    pub machine_id: String,
    /// When it was started last, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// How it ended last, if not by a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Its project has changed since its workload was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated: Option<Outdated>,
}

/// How a VM's workload is not that of its project any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outdated {
    /// When that was found, in seconds since 1970.
    pub since: u64,
    /// What differs, a few words each.
    pub what: Vec<String>,
}

/// 32 hexadecimal digits that make a valid random UUID (machine-id(5)).
pub(super) fn new_machine_id() -> Result<String> {
    let mut id = [0u8; 16];
    let mut random = File::open("/dev/urandom").map_err(Error::io("open", "/dev/urandom"))?;
    std::io::Read::read_exact(&mut random, &mut id).map_err(Error::io("read", "/dev/urandom"))?;
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    Ok(hex::encode(id))
}
