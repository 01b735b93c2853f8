//! Topologies: which bridge and which address a VM gets. One of [`SharedBridge`] and [`BridgePerVm`] for a whole realm.
//!
//! A VM's place is decided once, when it is made, and stored with it: another VM's coming or going never moves it.

mod ranges;

use super::conflict::InterfaceAddress;
use super::link::{BridgePlan, Lifetime};
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::egress::Egress;
use mvm_spec::latest::Network;
use mvm_spec::net::Cidr;
use std::fmt::Debug;
use std::net::Ipv4Addr;

/// Where VMs are.
pub trait Topology: Debug + Send + Sync {
    /// Whether its settings can be used at all. Errors name the setting, and what would do.
    fn check(&self) -> Result<()>;

    /// The place of the new VM `name`, given those of all others: bridge, MAC address, address, gateway; free egress, no
    /// peers. Error: all places are taken.
    fn place(&self, name: &VmName, taken: &[Network]) -> Result<Network>;

    /// The bridge of a VM at `network`, for packets of at most `mtu` bytes.
    fn bridge(&self, network: &Network, mtu: u32) -> BridgePlan;

    /// Whether the place of VM `name` is one of this topology. If not, the error says which settings it was made with.
    fn fits(&self, name: &VmName, network: &Network) -> Result<()>;

    /// The subnet that all guests are in.
    fn space(&self) -> Cidr;

    /// Those of a namespace's addresses, without the bridges', whose subnets share addresses with the guests': what
    /// guests can't reach, or what would receive their packets.
    fn overlaps(&self, addresses: &[InterfaceAddress]) -> Vec<InterfaceAddress> {
        addresses.iter().filter(|found| found.address.overlaps(&self.space())).cloned().collect()
    }
}

/// One bridge for all VMs, which are kept apart as isolated ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedBridge {
    /// The bridge's interface name.
    pub bridge: String,
    /// Its address, the guests' gateway, and their subnet.
    pub address: Cidr,
}

/// A bridge and a network of 256 addresses for each VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgePerVm {
    /// What the networks are taken from: network N is 10.N.0.0/24 of 10.0.0.0/8, and 192.168.N.0/24 of 192.168.0.0/16.
    pub pool: Cidr,
    /// Networks that the host has already, its LAN say: no new VM gets one that overlaps.
    pub busy: Vec<Cidr>,
}

/// The IPv4 networks of this process' network namespace; none where they can't be listed.
pub fn present_networks() -> Vec<Cidr> {
    let bits = |address: Option<nix::sys::socket::SockaddrStorage>| {
        address.and_then(|address| Some(address.as_sockaddr_in()?.ip()))
    };
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|interface| {
            let (address, mask) = (bits(interface.address)?, bits(interface.netmask)?);
            let prefix = u8::try_from(mask.to_bits().leading_ones()).ok()?;
            (!address.is_loopback()).then_some(Cidr { address, prefix })
        })
        .collect()
}

impl Topology for SharedBridge {
    fn check(&self) -> Result<()> {
        let Self { bridge, address } = self;
        if bridge.is_empty()
            || bridge.len() > 15
            || !bridge.bytes().all(is_name_byte)
            || bridge.starts_with('.')
        {
            return Err(Error::Failed(format!(
                "`bridge = \"{bridge}\"` in config.toml: an interface name has 1 to 15 of a-z, A-Z, 0-9, `-`, `_` and \
                 `.`, and does not begin with a dot"
            )));
        }
        ranges::check("subnet", *address)?;
        if !(8..=29).contains(&address.prefix) {
            return Err(Error::Failed(format!(
                "`subnet = \"{address}\"` in config.toml: the prefix must be within /8 and /29, which has room for 5 VMs"
            )));
        }
        if [address.network(), address.last()].contains(&address.address) {
            let first = Ipv4Addr::from_bits(address.network().to_bits() + 1);
            return Err(Error::Failed(format!(
                "`subnet = \"{address}\"` in config.toml names the {} address; write the bridge's own address, like \
                 {first}/{}",
                if address.address == address.last() { "broadcast" } else { "network's" },
                address.prefix
            )));
        }
        Ok(())
    }

    /// The lowest free address, from the network's address + 10 up to the last but one, without the bridge's own.
    /// Subnets too small for that start at the first address.
    fn place(&self, name: &VmName, taken: &[Network]) -> Result<Network> {
        let (network, last) = (self.address.network().to_bits(), self.address.last().to_bits());
        let offset = if last - network > 16 { 10 } else { 1 };
        let used: std::collections::HashSet<_> =
            taken.iter().map(|network| network.address.address).chain([self.address.address]).collect();
        let address = (network.saturating_add(offset)..last)
            .map(Ipv4Addr::from_bits)
            .find(|address| !used.contains(address))
            .ok_or(Error::SubnetFull { subnet: self.address, used: taken.len() })?;
        Ok(placed(name, self.bridge.clone(), Cidr { address, ..self.address }, self.address.address))
    }

    fn bridge(&self, _: &Network, mtu: u32) -> BridgePlan {
        BridgePlan { name: self.bridge.clone(), address: self.address, mtu, lifetime: Lifetime::Realm }
    }

    fn fits(&self, name: &VmName, network: &Network) -> Result<()> {
        let fits = network.bridge == self.bridge
            && network.gateway == self.address.address
            && network.address.prefix == self.address.prefix
            && self.address.contains(network.address.address);
        let now = || format!("the bridge {} with {}", self.bridge, self.address);
        if fits { Ok(()) } else { Err(wrong_place(name, network, &now())) }
    }

    fn space(&self) -> Cidr {
        self.address
    }

    fn overlaps(&self, addresses: &[InterfaceAddress]) -> Vec<InterfaceAddress> {
        let stranger = |found: &&InterfaceAddress| {
            found.address != self.address && found.address.overlaps(&self.address)
        };
        addresses.iter().filter(stranger).cloned().collect()
    }
}

impl BridgePerVm {
    /// By how many bits network N is shifted in the pool.
    fn shift(&self) -> u32 {
        if self.pool.prefix < 16 { 16 } else { 8 }
    }

    /// The largest N.
    fn capacity(&self) -> u32 {
        (1 << (32 - u32::from(self.pool.prefix) - self.shift())) - 1
    }

    /// Network N: the gateway's address.
    fn gateway(&self, number: u32) -> Cidr {
        let bits = self.pool.network().to_bits() + (number << self.shift()) + 1;
        Cidr { address: Ipv4Addr::from_bits(bits), prefix: 24 }
    }

    /// The bridge's address of a VM at `network`.
    fn bridge_address(network: &Network) -> Cidr {
        Cidr { address: network.gateway, prefix: network.address.prefix }
    }
}

impl Topology for BridgePerVm {
    fn check(&self) -> Result<()> {
        let pool = self.pool;
        ranges::check("subnets", pool)?;
        if !(8..=22).contains(&pool.prefix) || self.capacity() < 3 {
            return Err(Error::Failed(format!(
                "`subnets = \"{pool}\"` in config.toml has no room for three VMs' networks, or too much; use a prefix \
                 of /8 to /14 (a network for each second octet) or /16 to /22 (each third)"
            )));
        }
        if pool.address != pool.network() {
            return Err(Error::Failed(format!(
                "`subnets = \"{pool}\"` in config.toml is an address within the network; write {}/{}",
                pool.network(),
                pool.prefix
            )));
        }
        Ok(())
    }

    /// The network of the lowest free number, from 1. The bridge has its first address, the VM its second.
    fn place(&self, name: &VmName, taken: &[Network]) -> Result<Network> {
        let used: std::collections::HashSet<_> =
            taken.iter().map(|network| Self::bridge_address(network).network()).collect();
        // A VM made with another topology may lie across several networks; those are few.
        let wide: Vec<Cidr> =
            taken.iter().map(|network| network.address).filter(|address| address.prefix != 24).collect();
        let gateway = (1..=self.capacity())
            .map(|number| self.gateway(number))
            .find(|gateway| {
                !used.contains(&gateway.network())
                    && !wide.iter().chain(&self.busy).any(|other| other.overlaps(gateway))
            })
            .ok_or_else(|| {
                Error::Failed(format!(
                    "no network is free in {}: {} VMs have one, and the host has others; delete some, use --no-network, or set larger \
                     `subnets` in config.toml",
                    self.pool,
                    taken.len()
                ))
            })?;
        let address = Cidr { address: Ipv4Addr::from_bits(gateway.address.to_bits() + 1), ..gateway };
        Ok(placed(name, name.bridge(), address, gateway.address))
    }

    fn bridge(&self, network: &Network, mtu: u32) -> BridgePlan {
        let address = Self::bridge_address(network);
        BridgePlan { name: network.bridge.clone(), address, mtu, lifetime: Lifetime::Guests }
    }

    fn fits(&self, name: &VmName, network: &Network) -> Result<()> {
        let octet = (network.gateway.to_bits().wrapping_sub(self.pool.network().to_bits())) >> self.shift();
        let fits = is_per_vm(name, network)
            && (1..=self.capacity()).contains(&octet)
            && self.gateway(octet) == Self::bridge_address(network);
        let now = || format!("a bridge for each VM, with networks of {}", self.pool);
        if fits { Ok(()) } else { Err(wrong_place(name, network, &now())) }
    }

    fn space(&self) -> Cidr {
        self.pool
    }

    fn overlaps(&self, addresses: &[InterfaceAddress]) -> Vec<InterfaceAddress> {
        let ours = |address: Cidr| (1..=self.capacity()).any(|number| self.gateway(number) == address);
        let stranger = |found: &&InterfaceAddress| found.address.overlaps(&self.pool) && !ours(found.address);
        addresses.iter().filter(stranger).cloned().collect()
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

fn placed(name: &VmName, bridge: String, address: Cidr, gateway: Ipv4Addr) -> Network {
    Network { bridge, mac: name.mac(), address, gateway, egress: Egress::Outbound, peers: Vec::new() }
}

/// Whether a place looks like one of [`BridgePerVm`], of whichever pool.
fn is_per_vm(name: &VmName, network: &Network) -> bool {
    let first = network.address.network().to_bits();
    network.bridge == name.bridge()
        && network.address.prefix == 24
        && network.gateway.to_bits() == first + 1
        && network.address.address.to_bits() == first + 2
}

fn wrong_place(name: &VmName, network: &Network, now: &str) -> Error {
    let Network { bridge, address, gateway, .. } = network;
    let settings = if is_per_vm(name, network) {
        format!("`topology = \"bridge-per-vm\"` and `subnets` with {}/24 in it", address.network())
    } else {
        format!(
            "`topology = \"shared-bridge\"`, `bridge = \"{bridge}\"` and `subnet = \"{gateway}/{}\"`",
            address.prefix
        )
    };
    Error::Failed(format!(
        "VM `{name}` was made for the bridge {bridge} with {gateway}, but this realm has {now}; make the VM anew, or \
         set {settings} in config.toml, as they were"
    ))
}

#[cfg(test)]
mod tests;
