//! services
use crate::nix::value::Value;
pub(crate) fn default(_service: &str, _setting: &str) -> Option<Value> { None }
