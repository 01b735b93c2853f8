//! What makes stored forwards work: the realm's proxy, and in the host realm the elements of nft maps.

use crate::listeners::unavailable;
use crate::{Error, Result};
use mvm_host::fault;
use mvm_host::net::elements;
use mvm_host::ports::by_rules;
use mvm_host::ports::proxy::protocol::{Refusal, VmForwards};
use mvm_host::ports::proxy::{Added, Client};
use mvm_host::realm::{Realm, RealmKind};
use mvm_spec::VmName;
use mvm_spec::forward::Forward;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

/// How long the proxy may take for an answer, on a host busy with emulation. Whoever waits holds the lock on all
/// forwards.
const PATIENCE: Duration = Duration::from_secs(60);

/// The proxy of a realm, which runs as long as a VM with a network does.
#[derive(Debug)]
pub struct Serving {
    proxy: Option<Client>,
    kind: RealmKind,
}

/// Whether a VM's forwards are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// The VM runs, and they are.
    Served,
    /// The VM does not run; they will be when it starts.
    Stored,
}

impl Serving {
    /// Connects to the realm's proxy, if it runs.
    pub async fn open(realm: &Realm) -> Result<Self> {
        let proxy = patiently(Client::connect(&realm.ports_socket())).await?;
        Ok(Self { proxy, kind: realm.kind })
    }

    /// Serves more forwards of VM `vm`, all of them or none; `address` is the VM's.
    pub async fn add(&mut self, vm: &VmName, address: Ipv4Addr, forwards: &[Forward]) -> Result<Now> {
        let Some(proxy) = &mut self.proxy else { return Ok(Now::Stored) };
        match patiently(proxy.add(vm, forwards.to_vec())).await? {
            Added::NotUp => return Ok(Now::Stored),
            Added::Served(_) => {}
            Added::Refused(refusals) => return Err(refused(refusals)),
        }
        fault::point("proxy-added");
        match elements::change(&[], &by_rules(self.kind, address, forwards)) {
            Ok(()) => Ok(Now::Served),
            Err(error) => {
                // The error to report is the first; without its element the listener serves nobody from outside.
                let _ = patiently(proxy.remove(vm, forwards.to_vec())).await;
                Err(error.into())
            }
        }
    }

    /// Serves these forwards of VM `vm` no longer; "not served" is success.
    pub async fn remove(&mut self, vm: &VmName, address: Ipv4Addr, forwards: &[Forward]) -> Result<Now> {
        let Some(proxy) = &mut self.proxy else { return Ok(Now::Stored) };
        if patiently(proxy.list(Some(vm))).await?.is_empty() {
            return Ok(Now::Stored);
        }
        elements::change(&by_rules(self.kind, address, forwards), &[])?;
        fault::point("maps-removed");
        patiently(proxy.remove(vm, forwards.to_vec())).await?;
        Ok(Now::Served)
    }

    /// Makes the forwards of VM `vm` exactly `forwards`; returns those that can't be served yet.
    pub async fn set(
        &mut self,
        vm: &VmName,
        address: Ipv4Addr,
        forwards: Vec<Forward>,
    ) -> Result<Vec<Refusal>> {
        match &mut self.proxy {
            Some(proxy) => patiently(proxy.set(vm, address, forwards)).await,
            None => Ok(Vec::new()),
        }
    }

    /// Forgets a VM.
    pub async fn clear(&mut self, vm: &VmName) -> Result<()> {
        match &mut self.proxy {
            Some(proxy) => patiently(proxy.clear(vm)).await.map(drop),
            None => Ok(()),
        }
    }

    /// The running VMs, or one, and what is served for them; `None` if no proxy runs.
    pub async fn list(&mut self, vm: Option<&VmName>) -> Result<Option<Vec<VmForwards>>> {
        match &mut self.proxy {
            Some(proxy) => match patiently(proxy.list(vm)).await {
                Err(error) if has_ended(&error) => Ok(None),
                list => list.map(Some),
            },
            None => Ok(None),
        }
    }
}

/// Whether the proxy has ended while it was spoken to. It is none then; whoever keeps it has it begin with what is stored.
fn has_ended(error: &Error) -> bool {
    let Error::Host(mvm_host::Error::System { source, .. }) = error else { return false };
    matches!(source.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof)
}

async fn patiently<T>(answer: impl Future<Output = mvm_host::Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::Silent { seconds: PATIENCE.as_secs() }),
    }
}

/// The proxy's first refusal stands for all.
fn refused(refusals: Vec<Refusal>) -> Error {
    match refusals.into_iter().next() {
        Some(Refusal { forward, reason }) => unavailable(&forward, reason),
        None => Error::Host(mvm_host::Error::Failed("the proxy refused, and did not say what".to_owned())),
    }
}
