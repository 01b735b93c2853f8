//! Where a forward leads, and what went through it.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Where a forward leads: the VM's address, which may change, and the port.
#[derive(Clone, Debug)]
pub struct Target {
    /// The VM's address, shared by all its forwards.
    pub address: Rc<Cell<Ipv4Addr>>,
    /// The guest's port.
    pub port: u16,
}

impl Target {
    /// As of now.
    pub fn get(&self) -> SocketAddr {
        SocketAddr::new(self.address.get().into(), self.port)
    }
}

/// Counters of a forward.
#[derive(Debug, Default)]
pub struct Traffic {
    connections: Cell<u64>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
}

/// An open connection, counted as long as this lives.
#[derive(Debug)]
pub struct Open(Rc<Traffic>);

impl Traffic {
    /// Counts a connection.
    pub fn open(self: &Rc<Self>) -> Open {
        self.connections.set(self.connections.get() + 1);
        Open(self.clone())
    }

    /// Counts bytes towards the guest.
    pub fn count_in(&self, bytes: usize) {
        self.bytes_in.set(self.bytes_in.get().wrapping_add(bytes as u64));
    }

    /// Counts bytes from the guest.
    pub fn count_out(&self, bytes: usize) {
        self.bytes_out.set(self.bytes_out.get().wrapping_add(bytes as u64));
    }

    /// Open connections, bytes towards the guest, bytes from it.
    pub fn get(&self) -> (u64, u64, u64) {
        (self.connections.get(), self.bytes_in.get(), self.bytes_out.get())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get().saturating_sub(1));
    }
}
