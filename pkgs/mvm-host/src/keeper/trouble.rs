//! What users of VMs should know about the network, as it is now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Warnings by what they are about; shared by the keeper's threads.
#[derive(Clone, Debug, Default)]
pub struct Trouble(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Trouble {
    /// Replaces the warnings about `source`.
    pub fn set(&self, source: &str, warnings: Vec<String>) {
        self.lock().insert(source.to_owned(), warnings);
    }

    /// `source` is well again.
    pub fn clear(&self, source: &str) {
        self.lock().remove(source);
    }

    /// All warnings.
    pub fn get(&self) -> Vec<String> {
        self.lock().values().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
