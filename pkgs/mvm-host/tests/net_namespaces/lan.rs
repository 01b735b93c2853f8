//! A realm with a way out into another namespace, as a host with a network card has one: no `pasta` in between.

use crate::isolation::{set_outside, set_up};
use crate::support::{NetThread, Place};
use mvm_host::net::Network;
use mvm_host::net::ruleset::Outside;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// The host's address outside.
pub const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// A neighbour on the same link, and two servers behind it.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

pub struct Lan {
    pub realm: NetThread,
    pub internet: NetThread,
    pub network: Arc<Network>,
}

impl Lan {
    /// With the shared bridge, and the way out open.
    pub fn new() -> Self {
        let (realm, internet) = (NetThread::spawn(Place::New), NetThread::spawn(Place::New));
        realm.shell(&format!(
            "ip link add wan type veth peer name inet netns {}
             ip link set wan up; ip address add {HOST}/24 dev wan; ip route add default via {NEIGHBOUR}",
            internet.tid
        ));
        internet.shell(&format!(
            "ip link set lo up; ip link set inet up; ip address add {NEIGHBOUR}/24 dev inet
             ip address add {SERVER}/32 dev lo; ip address add {OTHER_SERVER}/32 dev lo
             ip route add 192.168.100.0/24 via {HOST}; ip route add 10.0.0.0/8 via {HOST}"
        ));
        let network = set_up(&realm);
        set_outside(&realm, &network, Outside::default());
        Self { realm, internet, network }
    }

    /// Runs `work` with the network, on its thread.
    pub fn with<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Network>) -> F + Send + 'static,
    ) -> T {
        let network = self.network.clone();
        self.realm.run(async move { work(network).await })
    }

    /// A socket in the outside world, which waits for what it receives.
    pub fn server(&self, address: Ipv4Addr, port: u16) -> UdpSocket {
        self.internet.call(move || {
            let socket = UdpSocket::bind((address, port)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            socket
        })
    }
}

/// The texts that `socket` receives up to `last`.
pub fn up_to(socket: &UdpSocket, last: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut buffer = [0; 2000];
    while texts.last().is_none_or(|text| text != last) {
        let length =
            socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {last} after {texts:?}: {error}"));
        texts.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    texts
}
