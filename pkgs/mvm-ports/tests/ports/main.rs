//! `mvm-ports` with real listeners and a real proxy, in network namespaces that each test makes, as root and as an
//! ordinary user. The "guests" are addresses of the same namespace.
#![expect(clippy::unwrap_used, reason = "a failed test says where")]

mod changes;
mod conflicts;
mod crashes;
mod maps;
mod parallel;
mod support;
