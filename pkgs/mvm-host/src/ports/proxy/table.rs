//! The forwards of the realm's VMs.
//!
//! Everything is found by hash, so that the ten-thousandth forward costs what the first does.

use super::bind::{self, Socket};
use super::listener;
use super::protocol::{Reason, Refusal, Served, VmForwards};
use super::sockets::GuestSockets;
use super::traffic::{Target, Traffic};
use super::{tcp, udp};
use mvm_spec::VmName;
use mvm_spec::forward::{Forward, Protocol};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::rc::Rc;
use tokio::task::JoinHandle;

/// All forwards.
#[derive(Debug)]
pub struct Table {
    sockets: GuestSockets,
    vms: HashMap<VmName, Vm>,
    /// Whose a port is: forwards that are served, and those that wait for it.
    ports: HashMap<(Protocol, u16), Vec<(VmName, Forward)>>,
    /// Those that wait.
    blocked: HashSet<(VmName, Forward)>,
}

#[derive(Debug)]
struct Vm {
    address: Rc<Cell<Ipv4Addr>>,
    forwards: HashMap<Forward, State>,
}

#[derive(Debug)]
enum State {
    Active(Active),
    Blocked(Reason),
}

/// A forward that is served. Dropping it ends it; [`Self::end`] waits until its sockets are closed.
#[derive(Debug)]
struct Active {
    tasks: Vec<JoinHandle<()>>,
    traffic: Rc<Traffic>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Ends all of them, and returns when their ports are free again.
async fn end(mut ended: Vec<Active>) {
    let tasks: Vec<_> = ended.iter_mut().flat_map(|active| std::mem::take(&mut active.tasks)).collect();
    tasks.iter().for_each(JoinHandle::abort);
    for task in tasks {
        // Aborted, as it should be.
        let _ = task.await;
    }
}

/// Why an addition did not happen.
#[derive(Debug)]
pub enum NotAdded {
    /// The VM is not there.
    NotUp,
    /// Some can't be served.
    Refused(Vec<Refusal>),
}

impl Table {
    /// An empty one.
    pub fn new(sockets: GuestSockets) -> Self {
        Self { sockets, vms: HashMap::new(), ports: HashMap::new(), blocked: HashSet::new() }
    }

    /// Makes the VM's forwards exactly these; returns those that can't be served yet.
    pub async fn set(&mut self, vm: &VmName, address: Ipv4Addr, forwards: Vec<Forward>) -> Vec<Refusal> {
        let known = self
            .vms
            .entry(vm.clone())
            .or_insert_with(|| Vm { address: Rc::new(Cell::new(address)), forwards: HashMap::new() });
        known.address.set(address);
        let wanted: HashSet<&Forward> = forwards.iter().collect();
        let unwanted: Vec<Forward> =
            known.forwards.keys().filter(|forward| !wanted.contains(forward)).cloned().collect();
        self.remove(vm, &unwanted).await;
        for forward in forwards {
            match self.vms.get(vm).and_then(|known| known.forwards.get(&forward)) {
                Some(State::Active(_)) => continue,
                Some(State::Blocked(_)) => {}
                None => {
                    let port = (forward.proto, forward.host);
                    self.ports.entry(port).or_default().push((vm.clone(), forward.clone()));
                }
            }
            self.attempt(vm, forward);
        }
        self.name_listeners(vm);
        let blocked = self.vms.get(vm).into_iter().flat_map(|known| &known.forwards);
        let mut refusals: Vec<Refusal> = blocked
            .filter_map(|(forward, state)| match state {
                State::Blocked(reason) => Some(Refusal { forward: forward.clone(), reason: reason.clone() }),
                State::Active(_) => None,
            })
            .collect();
        refusals.sort_by(|a, b| a.forward.cmp(&b.forward));
        refusals
    }

    /// Adds forwards, all or none; returns them with the port in place of 0.
    pub fn add(&mut self, vm: &VmName, forwards: &[Forward]) -> Result<Vec<Forward>, NotAdded> {
        let Some(known) = self.vms.get(vm) else { return Err(NotAdded::NotUp) };
        // Until all are bound, they are only here.
        let mut new: Vec<(Forward, Vec<Socket>)> = Vec::new();
        let mut new_ports: HashMap<(Protocol, u16), Vec<Forward>> = HashMap::new();
        let mut served = Vec::with_capacity(forwards.len());
        let mut refusals = Vec::new();
        for forward in forwards {
            let port = (forward.proto, forward.host);
            let repeated = new_ports.get(&port).is_some_and(|new| new.contains(forward));
            if repeated || matches!(known.forwards.get(forward), Some(State::Active(_))) {
                served.push(forward.clone());
                continue;
            }
            let rival = self.rival(vm, forward);
            let rival = rival
                .or_else(|| new_ports.get(&port)?.iter().any(|new| new.conflicts(forward)).then_some(vm));
            let bound = match rival {
                Some(rival) => Err(Reason::Forwarded { vm: rival.clone() }),
                None => bind::bind(forward, |candidate| self.rival(vm, candidate).is_some()),
            };
            match bound {
                Ok((forward, sockets)) => {
                    new_ports.entry((forward.proto, forward.host)).or_default().push(forward.clone());
                    served.push(forward.clone());
                    new.push((forward, sockets));
                }
                Err(reason) => refusals.push(Refusal { forward: forward.clone(), reason }),
            }
        }
        if !refusals.is_empty() {
            drop(new);
            listener::name(&mut refusals);
            return Err(NotAdded::Refused(refusals));
        }
        for (forward, sockets) in new {
            if !self.blocked.remove(&(vm.clone(), forward.clone())) {
                self.ports
                    .entry((forward.proto, forward.host))
                    .or_default()
                    .push((vm.clone(), forward.clone()));
            }
            self.activate(vm, forward, sockets);
        }
        Ok(served)
    }

    /// Removes forwards; returns those that were there. Their ports are free when it returns.
    pub async fn remove(&mut self, vm: &VmName, forwards: &[Forward]) -> Vec<Forward> {
        let Some(known) = self.vms.get_mut(vm) else { return Vec::new() };
        let mut removed = Vec::new();
        let mut ended = Vec::new();
        for forward in forwards {
            let Some(state) = known.forwards.remove(forward) else { continue };
            let port = (forward.proto, forward.host);
            if let Some(holders) = self.ports.get_mut(&port) {
                holders.retain(|(holder, held)| holder != vm || held != forward);
                if holders.is_empty() {
                    self.ports.remove(&port);
                }
            }
            match state {
                State::Active(active) => ended.push(active),
                State::Blocked(_) => drop(self.blocked.remove(&(vm.clone(), forward.clone()))),
            }
            removed.push(forward.clone());
        }
        end(ended).await;
        removed
    }

    /// Forgets the VM; returns its forwards.
    pub async fn clear(&mut self, vm: &VmName) -> Vec<Forward> {
        let Some(known) = self.vms.get(vm) else { return Vec::new() };
        let mut forwards: Vec<Forward> = known.forwards.keys().cloned().collect();
        forwards.sort();
        let removed = self.remove(vm, &forwards).await;
        self.vms.remove(vm);
        removed
    }

    /// What is served, for one VM or all.
    pub fn list(&self, only: Option<&VmName>) -> Vec<VmForwards> {
        let chosen = self.vms.iter().filter(|(vm, _)| only.is_none_or(|only| only == *vm));
        let mut vms: Vec<VmForwards> = chosen
            .map(|(vm, known)| {
                let mut forwards: Vec<Served> =
                    known.forwards.iter().map(|(forward, state)| served(forward, state)).collect();
                forwards.sort_by(|a, b| a.forward.cmp(&b.forward));
                VmForwards { vm: vm.clone(), address: known.address.get(), forwards }
            })
            .collect();
        vms.sort_by(|a, b| a.vm.cmp(&b.vm));
        vms
    }

    /// Whether any forward waits.
    pub fn is_waiting(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Tries again to serve those that wait.
    pub fn retry(&mut self) {
        let blocked: Vec<_> = self.blocked.iter().cloned().collect();
        for (vm, forward) in blocked {
            self.attempt(&vm, forward);
        }
    }

    /// Serves a forward that waits, or remembers why not.
    fn attempt(&mut self, vm: &VmName, forward: Forward) {
        // Only one that is served is in the way: two that wait must not wait for each other.
        let rival = self.holders(vm, &forward).find(|(holder, held)| {
            let state = self.vms.get(*holder).and_then(|known| known.forwards.get(*held));
            matches!(state, Some(State::Active(_)))
        });
        let bound = match rival {
            Some((holder, _)) => Err(Reason::Forwarded { vm: holder.clone() }),
            None => bind::bind(&forward, |_| false),
        };
        match bound {
            Ok((forward, sockets)) => {
                self.blocked.remove(&(vm.clone(), forward.clone()));
                self.activate(vm, forward, sockets);
            }
            Err(reason) => {
                let before = self.vms.get(vm).and_then(|known| known.forwards.get(&forward));
                // Whoever took the port was looked up when it was found taken.
                let same = matches!(
                    (before, &reason),
                    (Some(State::Blocked(Reason::PortTaken { by: Some(_) })), Reason::PortTaken { by: None })
                );
                if !same {
                    self.put(vm, forward.clone(), State::Blocked(reason));
                }
                self.blocked.insert((vm.clone(), forward));
            }
        }
    }

    fn put(&mut self, vm: &VmName, forward: Forward, state: State) {
        if let Some(known) = self.vms.get_mut(vm) {
            known.forwards.insert(forward, state);
        }
    }

    fn activate(&mut self, vm: &VmName, forward: Forward, sockets: Vec<Socket>) {
        let Some(known) = self.vms.get_mut(vm) else { return };
        let traffic = Rc::new(Traffic::default());
        let target = Target { address: known.address.clone(), port: forward.guest };
        let tasks = sockets
            .into_iter()
            .map(|socket| {
                let (guests, target, traffic) = (self.sockets.clone(), target.clone(), traffic.clone());
                match socket {
                    Socket::Tcp(listener) => {
                        tokio::task::spawn_local(tcp::serve(listener, guests, target, traffic))
                    }
                    Socket::Udp(socket, wildcard) => {
                        tokio::task::spawn_local(udp::serve(socket, wildcard, guests, target, traffic))
                    }
                }
            })
            .collect();
        known.forwards.insert(forward, State::Active(Active { tasks, traffic }));
    }

    /// Other forwards that have or want the port.
    fn holders(&self, vm: &VmName, forward: &Forward) -> impl Iterator<Item = (&VmName, &Forward)> {
        let holders = self.ports.get(&(forward.proto, forward.host)).into_iter().flatten();
        holders
            .filter(move |(holder, held)| (holder != vm || held != forward) && held.conflicts(forward))
            .map(|(holder, held)| (holder, held))
    }

    /// The VM of another forward that has or wants the port.
    fn rival(&self, vm: &VmName, forward: &Forward) -> Option<&VmName> {
        self.holders(vm, forward).map(|(holder, _)| holder).next()
    }

    /// Says who has the ports that the VM's forwards wait for.
    fn name_listeners(&mut self, vm: &VmName) {
        let Some(known) = self.vms.get_mut(vm) else { return };
        let mut taken: Vec<Refusal> = known
            .forwards
            .iter()
            .filter_map(|(forward, state)| match state {
                State::Blocked(reason @ Reason::PortTaken { by: None }) => {
                    Some(Refusal { forward: forward.clone(), reason: reason.clone() })
                }
                _ => None,
            })
            .collect();
        listener::name(&mut taken);
        for Refusal { forward, reason } in taken {
            known.forwards.insert(forward, State::Blocked(reason));
        }
    }
}

fn served(forward: &Forward, state: &State) -> Served {
    let (blocked, (connections, bytes_in, bytes_out)) = match state {
        State::Active(active) => (None, active.traffic.get()),
        State::Blocked(reason) => (Some(reason.clone()), (0, 0, 0)),
    };
    Served { forward: forward.clone(), blocked, connections, bytes_in, bytes_out }
}
