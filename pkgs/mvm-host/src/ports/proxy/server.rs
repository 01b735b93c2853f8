//! The proxy's control socket.

use super::protocol::{LIST_MAX, REFUSALS_MAX, Reply, Request, VmForwards};
use super::table::{NotAdded, Table};
use crate::client::{read_frame, write_frame};
use mvm_spec::VmName;
use mvm_spec::forward::Forward;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

/// How often forwards that can't be served are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The forwards, and word of their changes.
#[derive(Debug)]
pub struct Server {
    table: Mutex<Table>,
    changed: Notify,
}

impl Server {
    /// A server of `table`.
    pub fn new(table: Table) -> Rc<Self> {
        Rc::new(Self { table: Mutex::new(table), changed: Notify::new() })
    }

    /// Answers whoever connects, for ever.
    pub async fn serve(self: Rc<Self>, listener: UnixListener) {
        tokio::task::spawn_local(self.clone().retry());
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    tokio::task::spawn_local(async move {
                        // A client that leaves in the middle, or says what nobody understands, harms only itself.
                        if let Err(error) = server.converse(stream).await {
                            tracing::debug!("a client was left: {error}");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!("can't accept a client: {error}");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn retry(self: Rc<Self>) {
        loop {
            let waiting = self.table.lock().await.is_waiting();
            if waiting {
                // A change may have freed a port.
                tokio::select! {
                    () = sleep(RETRY) => {}
                    () = self.changed.notified() => {}
                }
                self.table.lock().await.retry();
            } else {
                self.changed.notified().await;
            }
        }
    }

    async fn converse(&self, mut stream: UnixStream) -> std::io::Result<()> {
        while let Some(request) = read_frame(&mut stream).await? {
            if let Request::List { vm } = request {
                self.list(&mut stream, vm).await?;
            } else {
                let reply = self.answer(request).await;
                self.changed.notify_one();
                write_frame(&mut stream, &reply).await?;
            }
        }
        Ok(())
    }

    async fn answer(&self, request: Request) -> Reply {
        let mut table = self.table.lock().await;
        match request {
            Request::Set { vm, address, forwards } => {
                if let Some(problem) = problem(&forwards, PortZero::Refused) {
                    return problem;
                }
                let mut blocked = table.set(&vm, address, forwards).await;
                blocked.truncate(REFUSALS_MAX);
                Reply::Set { blocked }
            }
            Request::Add { vm, forwards } => match problem(&forwards, PortZero::Free) {
                Some(problem) => problem,
                None => match table.add(&vm, &forwards) {
                    Ok(forwards) => Reply::Added { forwards },
                    Err(NotAdded::NotUp) => Reply::NotUp,
                    Err(NotAdded::Refused(mut refusals)) => {
                        refusals.truncate(REFUSALS_MAX);
                        Reply::Refused { refusals }
                    }
                },
            },
            Request::Remove { vm, forwards } => {
                Reply::Removed { forwards: table.remove(&vm, &forwards).await }
            }
            Request::Clear { vm } => Reply::Removed { forwards: table.clear(&vm).await },
            Request::List { vm } => Reply::Vms { vms: table.list(vm.as_ref()), more: false },
        }
    }

    async fn list(&self, stream: &mut UnixStream, vm: Option<VmName>) -> std::io::Result<()> {
        let all = self.table.lock().await.list(vm.as_ref());
        let mut frames = frames(all).into_iter().peekable();
        while let Some(vms) = frames.next() {
            let more = frames.peek().is_some();
            write_frame(stream, &Reply::Vms { vms, more }).await?;
        }
        Ok(())
    }
}

/// Parts with at most [`LIST_MAX`] forwards and VMs each; at least one.
fn frames(all: Vec<VmForwards>) -> Vec<Vec<VmForwards>> {
    let mut frames = vec![Vec::new()];
    let mut room = LIST_MAX;
    for VmForwards { vm, address, mut forwards } in all {
        loop {
            if room == 0 {
                frames.push(Vec::new());
                room = LIST_MAX;
            }
            let rest = forwards.split_off(forwards.len().min(room));
            room -= forwards.len().max(1);
            if let Some(frame) = frames.last_mut() {
                frame.push(VmForwards { vm: vm.clone(), address, forwards });
            }
            if rest.is_empty() {
                break;
            }
            forwards = rest;
        }
    }
    frames
}

/// What the host's port 0 means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PortZero {
    Free,
    Refused,
}

/// What makes no sense in these forwards.
fn problem(forwards: &[Forward], zero: PortZero) -> Option<Reply> {
    let bad = forwards
        .iter()
        .find(|forward| forward.guest == 0 || (forward.host == 0 && zero == PortZero::Refused))?;
    Some(Reply::Failed { message: format!("the forward {bad} has the port 0; give it one from 1 to 65535") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::proxy::protocol::Served;

    #[test]
    fn a_list_is_cut_into_frames_that_hold_all_of_it() {
        let forward = |host| Served {
            forward: Forward { proto: Default::default(), address: None, host, guest: 1 },
            blocked: None,
            connections: 0,
            bytes_in: 0,
            bytes_out: 0,
        };
        let vm = |name: &str, count: u16| VmForwards {
            vm: VmName::new(name).unwrap(),
            address: [192, 168, 100, 10].into(),
            forwards: (1..=count).map(forward).collect(),
        };
        assert_eq!(frames(vec![]), [vec![]]);
        let all = vec![vm("a", 5000), vm("b", 0), vm("c", 3192), vm("d", 1)];
        let frames = frames(all.clone());
        let sizes: Vec<Vec<usize>> =
            frames.iter().map(|frame| frame.iter().map(|vm| vm.forwards.len()).collect()).collect();
        assert_eq!(sizes, [vec![4096], vec![904, 0, 3191], vec![1, 1]]);
        let hosts = |vms: &[VmForwards]| -> Vec<(String, u16)> {
            let pair = |vm: &VmForwards, served: &Served| (vm.vm.to_string(), served.forward.host);
            vms.iter()
                .flat_map(|vm| vm.forwards.iter().map(|served| pair(vm, served)).collect::<Vec<_>>())
                .collect()
        };
        assert_eq!(hosts(&frames.concat()), hosts(&all));
    }
}
