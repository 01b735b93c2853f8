//! What can be wrong with a spec.

use crate::v1;

/// A rule that a well-formed spec breaks: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field, as a path in the JSON (`resources.memMib`).
    pub field: String,
    /// What is wrong and how to mend it.
    pub problem: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// Why a text is no usable spec.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Not JSON, or JSON of another shape.
    #[error("not a VM spec: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A version this program doesn't know.
    #[error(
        "spec version {found} is not known to this program, which reads version {}; update microvm-dev",
        v1::VERSION
    )]
    Version {
        /// The version the text names.
        found: u64,
    },
    /// There is no `version` field, or it is no number.
    #[error("a VM spec must have a numeric `version` field")]
    NoVersion,
    /// Well-formed, but breaking rules.
    #[error("the spec breaks {} rule(s):\n{}", .0.len(), .0.iter().map(|v| format!("  {v}")).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Violation>),
}
