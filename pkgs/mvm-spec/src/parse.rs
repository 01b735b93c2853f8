//! From text to the latest spec.

use crate::{SpecError, VmSpec, v1};
use serde::Deserialize;

/// Reads a spec of any known version, and checks its rules.
///
/// The version is read first, so that a newer spec is refused as such and not for a field of its own.
pub fn parse(text: &str) -> Result<VmSpec, SpecError> {
    let spec = match version(text)? {
        Some(v1::VERSION) => serde_json::from_str::<v1::VmSpec>(text)?,
        Some(found) => return Err(SpecError::Version { found }),
        None => return Err(SpecError::NoVersion),
    };
    let violations = spec.violations();
    if violations.is_empty() { Ok(spec) } else { Err(SpecError::Invalid(violations)) }
}

/// The number in the field `version` of a JSON object; none if there is no such field, or no number in it.
pub(crate) fn version(text: &str) -> Result<Option<u64>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Versioned {
        version: Option<serde_json::Value>,
    }
    let versioned: Versioned = serde_json::from_str(text)?;
    Ok(versioned.version.as_ref().and_then(serde_json::Value::as_u64))
}
