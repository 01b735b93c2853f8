//! What every verb works with: the realm, its store, and a way to show progress.

use crate::cli::Global;
use crate::progress::Progress;
use anyhow::Context as _;
use mvm_host::realm::{Realm, RealmKind};
use mvm_host::store::Store;

/// The realm, its store, and progress.
pub struct Context {
    /// The realm.
    pub realm: Realm,
    /// Its VMs.
    pub store: Store,
    /// Where progress, warnings and notes go.
    pub progress: Progress,
}

impl Context {
    /// From the global options; creates no directory.
    pub fn new(global: &Global) -> anyhow::Result<Self> {
        let realm = Realm::resolve(global.realm.map(RealmKind::from))?;
        let store = Store::open(&realm.state_dir);
        Ok(Self { realm, store, progress: Progress::new(global.verbose, global.quiet) })
    }

    /// An error if VM `name` is neither of the realm nor declared; for verbs that don't read its spec.
    pub fn expect_vm(&self, name: &mvm_spec::VmName) -> anyhow::Result<()> {
        if self.store.contains(name) || crate::declared::is_declared(self, name) {
            return Ok(());
        }
        Err(mvm_host::Error::NoSuchVm(name.clone()).into())
    }
}

/// Runs `future` on a runtime of this thread alone.
///
/// Threads that still read standard input at the end can't be woken; they go with the process.
pub fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}
