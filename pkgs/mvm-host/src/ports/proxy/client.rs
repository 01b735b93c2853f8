//! Talking to the proxy.

use super::listener;
use super::protocol::{Refusal, Reply, Request, VmForwards};
use crate::client::{nobody_listens, read_frame, write_frame};
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::forward::Forward;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::Path;
use tokio::net::UnixStream;

/// A connection to the proxy, for any number of requests.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

/// How [`Client::add`] went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// All are served; in the order of the request, with the port in place of 0.
    Served(Vec<Forward>),
    /// The VM has not been set: it does not run.
    NotUp,
    /// Nothing was changed.
    Refused(Vec<Refusal>),
}

impl Client {
    /// Connects to the proxy that listens at `socket`; `None` if none does.
    pub async fn connect(socket: &Path) -> Result<Option<Self>> {
        match UnixStream::connect(socket).await {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error) if nobody_listens(&error) => Ok(None),
            Err(error) => Err(Error::io("connect to", socket)(error)),
        }
    }

    /// Makes the VM's forwards exactly `forwards` and its address `address`. Returns those that can't be served yet; the
    /// proxy goes on trying.
    pub async fn set(
        &mut self,
        vm: &VmName,
        address: Ipv4Addr,
        forwards: Vec<Forward>,
    ) -> Result<Vec<Refusal>> {
        match self.request(&Request::Set { vm: vm.clone(), address, forwards }).await? {
            Reply::Set { blocked } => Ok(named(blocked).await),
            other => Err(unexpected(other)),
        }
    }

    /// Adds forwards, all or none. Port 0 of the host is any free port.
    pub async fn add(&mut self, vm: &VmName, forwards: Vec<Forward>) -> Result<Added> {
        match self.request(&Request::Add { vm: vm.clone(), forwards }).await? {
            Reply::Added { forwards } => Ok(Added::Served(forwards)),
            Reply::NotUp => Ok(Added::NotUp),
            Reply::Refused { refusals } => Ok(Added::Refused(named(refusals).await)),
            other => Err(unexpected(other)),
        }
    }

    /// Removes forwards and closes their connections; returns those that were there.
    pub async fn remove(&mut self, vm: &VmName, forwards: Vec<Forward>) -> Result<Vec<Forward>> {
        match self.request(&Request::Remove { vm: vm.clone(), forwards }).await? {
            Reply::Removed { forwards } => Ok(forwards),
            other => Err(unexpected(other)),
        }
    }

    /// Makes the proxy forget the VM; returns the forwards that were there.
    pub async fn clear(&mut self, vm: &VmName) -> Result<Vec<Forward>> {
        match self.request(&Request::Clear { vm: vm.clone() }).await? {
            Reply::Removed { forwards } => Ok(forwards),
            other => Err(unexpected(other)),
        }
    }

    /// What is served, for one VM or all, in the order of their names.
    pub async fn list(&mut self, vm: Option<&VmName>) -> Result<Vec<VmForwards>> {
        let mut reply = self.request(&Request::List { vm: vm.cloned() }).await?;
        let mut all: Vec<VmForwards> = Vec::new();
        loop {
            let Reply::Vms { vms, more } = reply else { return Err(unexpected(reply)) };
            for part in vms {
                match all.last_mut() {
                    Some(last) if last.vm == part.vm => last.forwards.extend(part.forwards),
                    _ => all.push(part),
                }
            }
            if !more {
                return Ok(all);
            }
            reply = self.reply().await?;
        }
    }

    async fn request(&mut self, request: &Request) -> Result<Reply> {
        write_frame(&mut self.stream, request).await.map_err(Error::system("talk to the proxy"))?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Reply> {
        let failed = Error::system("hear the proxy");
        match read_frame(&mut self.stream).await {
            Ok(Some(reply)) => Ok(reply),
            // The same as a connection that is reset: which of them it is depends on what the proxy had read.
            Ok(None) => Err(failed(std::io::Error::new(ErrorKind::UnexpectedEof, "it has ended; try again"))),
            Err(error) => Err(failed(error)),
        }
    }
}

/// A proxy in a user namespace can't look into the host's processes; its client often can.
async fn named(mut refusals: Vec<Refusal>) -> Vec<Refusal> {
    let unnamed = refusals.clone();
    let naming = tokio::task::spawn_blocking(move || {
        listener::name(&mut refusals);
        refusals
    });
    naming.await.unwrap_or(unnamed)
}

fn unexpected(reply: Reply) -> Error {
    Error::Failed(match reply {
        Reply::Failed { message } => message,
        other => {
            format!("the proxy answered {other:?}; is it of another version? stop all VMs and try again")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_proxy_that_ends_instead_of_answering_is_known_by_the_kind_of_error() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("ports.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let mut client = Client::connect(&socket).await.unwrap().unwrap();
        let proxy = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // All that was sent is read: the connection is closed, not reset.
            read_frame::<Request>(&mut stream).await.unwrap().unwrap();
        };
        let (listed, ()) = tokio::join!(client.list(None), proxy);
        let Err(Error::System { source, .. }) = listed else { panic!("{listed:?}") };
        assert_eq!(source.kind(), ErrorKind::UnexpectedEof);
    }
}
