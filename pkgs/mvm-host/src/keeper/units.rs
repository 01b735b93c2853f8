//! The keeper of declared VMs: the host realm's network for VMs that systemd runs.
//!
//! ```text
//! microvm-tap-interfaces@NAME   makes the tap
//! mvm-unit attach NAME ───────► this process: bridge, rules, name and address server, port forwards
//! microvm@NAME                  the VMM, with the tap
//! ```
//!
//! It runs as long as its unit. When it is restarted it takes over VMs that run; when it is stopped while some do, it
//! leaves bridge and rules, so that at no time a VM is on the network without them.

use super::network::Network;
use super::ports::{Forwarded, Ports};
use super::protocol::{Event, Request};
use super::server::{REQUEST_DEADLINE, bind, failed};
use super::{lock_or_find_other, raise_file_limit};
use crate::client::{read_frame, write_frame};
use crate::net::link::Links;
use crate::realm::{Realm, RealmKind};
use crate::store::{Store, StoredVm};
use crate::{Error, Result};
use mvm_spec::VmName;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::task::LocalSet;

struct Units {
    store: Store,
    network: Network,
    ports: Rc<Ports>,
    attached: RefCell<BTreeSet<VmName>>,
    /// Units start side by side; each step is short.
    turn: Mutex<()>,
}

/// Serves until SIGTERM. `ready` is called when the socket answers and VMs that run are on the network.
///
/// Errors: this is not the host realm; another keeper runs; the rules can't be made.
pub fn main(realm: Realm, ready: impl FnOnce() -> Result<()>) -> Result<()> {
    if realm.kind != RealmKind::Host {
        return Err(Error::Failed("declared VMs are in the host realm; run this as root".to_owned()));
    }
    realm.create_dirs()?;
    let Some(lock) = lock_or_find_other(&realm)? else {
        return Err(Error::Failed(format!(
            "another keeper of the host realm runs and answers at {}; stop its VMs: `mvm --realm host stop --all`",
            realm.socket().display()
        )));
    };
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("start the runtime"))?;
    let result = LocalSet::new().block_on(&runtime, serve(realm, ready));
    runtime.shutdown_background();
    drop(lock);
    result
}

async fn serve(realm: Realm, ready: impl FnOnce() -> Result<()>) -> Result<()> {
    let store = Store::open(&realm.state_dir);
    let listener = bind(&realm)?;
    let forwarded = Forwarded::new(&realm);
    let network = Network::new(&realm, forwarded.clone());
    let ports = Rc::new(Ports::new(&realm, forwarded, network.namespace()));
    let units =
        Rc::new(Units { store, network, ports, attached: RefCell::default(), turn: Mutex::default() });
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::system("handle SIGTERM"))?;
    units.take_over().await?;
    ready()?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.map_err(Error::system("accept a client"))?;
                let units = units.clone();
                tokio::task::spawn_local(async move {
                    // A client that leaves in the middle harms nobody else.
                    let _ = units.converse(stream).await;
                });
            }
            _ = terminate.recv() => break,
        }
    }
    let _ = std::fs::remove_file(realm.socket());
    units.ports.end();
    if units.attached.borrow().is_empty() {
        units.network.end().await;
    } else {
        tracing::info!("VMs run: their bridges and rules stay");
    }
    Ok(())
}

impl Units {
    /// Puts VMs that run, which are those that have a tap, on the network again.
    async fn take_over(&self) -> Result<()> {
        let taps = Links::open()?.names().await?;
        for (name, vm) in self.store.list()? {
            let there = taps.contains(&name.tap());
            match vm {
                Ok(vm) if there && vm.spec.network.is_some() => match self.attach(&name).await {
                    Ok(warnings) => warnings.iter().for_each(|warning| tracing::warn!("{warning}")),
                    // The others have nothing to do with it.
                    Err(error) => tracing::error!("{error}"),
                },
                Err(error) if there => tracing::error!("{error}"),
                _ => {}
            }
        }
        Ok(())
    }

    async fn converse(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let request = tokio::time::timeout(REQUEST_DEADLINE, read_frame(&mut stream)).await??;
        let event = match request {
            None => return Ok(()),
            Some(Request::Attach { name }) => match self.attach(&name).await {
                Ok(warnings) => Event::Attached { warnings },
                Err(error) => failed(&error),
            },
            Some(Request::Detach { name }) => {
                self.detach(&name).await;
                Event::Detached
            }
            Some(Request::Denied { name }) => Event::Denied { denied: self.network.denied(&name).await },
            Some(Request::Processes { .. }) => Event::Processes { processes: Vec::new() },
            Some(Request::ApplyWorkload { .. }) => Event::Applied { running: false },
            // None that this process runs.
            Some(Request::Status) => Event::Status {
                keeper_pid: i32::try_from(std::process::id()).unwrap_or_default(),
                vms: Vec::new(),
            },
            Some(Request::Start { name, .. } | Request::Stop { name, .. } | Request::Ssh { name }) => {
                failed(&Error::Failed(format!(
                    "VM `{name}` can't be run in the host realm, which is that of declared VMs here; leave out \
                     `--realm host`, or declare it as `services.microvm-dev.vms.{name}`"
                )))
            }
        };
        write_frame(&mut stream, &event).await
    }

    async fn attach(&self, name: &VmName) -> Result<Vec<String>> {
        let _turn = self.turn.lock().await;
        let StoredVm { spec, .. } = self.store.get(name)?;
        let Some(network) = spec.network else { return Ok(Vec::new()) };
        self.network.adopt(name, &network).await?;
        self.attached.borrow_mut().insert(name.clone());
        let mut warnings = self.ports.open(name, network.address.address).await;
        if let Err(error) = self.network.forward().await {
            warnings.push(error.to_string());
        }
        warnings.extend(self.network.warnings());
        warnings.extend(self.ports.warnings());
        Ok(warnings)
    }

    async fn detach(&self, name: &VmName) {
        let _turn = self.turn.lock().await;
        if !self.attached.borrow_mut().remove(name) {
            return;
        }
        if self.ports.close(name).await
            && let Err(error) = self.network.forward().await
        {
            tracing::warn!("{error}");
        }
        self.network.detach(name);
    }
}
