//! The guest's network, by rtnetlink(7).

mod netlink;

use anyhow::{Context, bail};
use mvm_spec::control::GuestNetwork;
use mvm_spec::net::MacAddr;
use netlink::Netlink;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::{AddressMessageBuilder, LinkUnspec, RouteMessageBuilder};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Interfaces (Linux, Documentation/ABI/testing/sysfs-class-net).
const CLASS: &str = "/sys/class/net";
/// Index of the loopback interface: the first of a network namespace (net/core/dev.c).
const LOOPBACK: u32 = 1;

/// Brings the loopback interface up.
pub fn loopback() -> anyhow::Result<()> {
    Netlink::open()?.up(LOOPBACK).context("can't bring the loopback interface up")
}

/// An interface that is up and has nothing to say: without addresses, as one that any VM can make its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    index: u32,
}

/// Brings up the network interface, if there is one.
pub fn bring_up() -> anyhow::Result<Option<Idle>> {
    let Some((index, name)) = first(Path::new(CLASS)) else { return Ok(None) };
    without_ipv6(&name)?;
    Netlink::open()?.up(index).with_context(|| format!("can't bring up the interface {name}"))?;
    Ok(Some(Idle { index }))
}

/// Makes `idle` the interface of `network`, or else configures the one with its MAC address, which may take `limit` to
/// appear.
pub async fn configure(network: &GuestNetwork, idle: Option<Idle>, limit: Duration) -> anyhow::Result<()> {
    let GuestNetwork { mac, address, gateway, mtu, .. } = network;
    let settings = match idle {
        Some(Idle { index }) => LinkUnspec::new_with_index(index).address(mac.0.to_vec()),
        None => {
            let (index, name) = wait_for_interface(*mac, limit).await?;
            without_ipv6(&name)?;
            LinkUnspec::new_with_index(index)
        }
    };
    let settings = settings.mtu(*mtu).up().build();
    let index = settings.header.index;
    let mut netlink = Netlink::open()?;
    // The MAC address before anything is sent.
    netlink.change(RouteNetlinkMessage::SetLink(settings)).with_context(|| {
        format!("can't bring the interface with MAC address {mac} up with an MTU of {mtu}")
    })?;
    let own = AddressMessageBuilder::<Ipv4Addr>::new()
        .index(index)
        .address(address.address, address.prefix)
        .build();
    netlink
        .change(RouteNetlinkMessage::NewAddress(own))
        .with_context(|| format!("can't give the interface with MAC address {mac} the address {address}"))?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(*gateway).output_interface(index).build();
    netlink
        .change(RouteNetlinkMessage::NewRoute(route))
        .with_context(|| format!("can't set the default route by {gateway}"))
}

async fn wait_for_interface(mac: MacAddr, limit: Duration) -> anyhow::Result<(u32, String)> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = find(Path::new(CLASS), mac) {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!(
                "no network interface has the MAC address {mac} after {limit:?}; is the device there, and virtio_net \
                 loaded?"
            );
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The network carries no IPv6: without addresses of it, programs don't wait for what would never answer.
fn without_ipv6(interface: &str) -> anyhow::Result<()> {
    let file = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    match std::fs::write(&file, "1") {
        // A kernel without IPv6.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.with_context(|| format!("can't write {file}")),
    }
}

/// Index and name of the interface with `mac` among the entries of `class` (`/sys/class/net`).
pub fn find(class: &Path, mac: MacAddr) -> Option<(u32, String)> {
    entries(class).find_map(|entry| (read::<MacAddr>(&entry, "address")? == mac).then(|| identify(&entry))?)
}

/// Index and name of an interface that has a device behind it.
fn first(class: &Path) -> Option<(u32, String)> {
    entries(class).find(|entry| entry.join("device").exists()).and_then(|entry| identify(&entry))
}

fn entries(class: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(class).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn identify(entry: &Path) -> Option<(u32, String)> {
    Some((read(entry, "ifindex")?, entry.file_name()?.to_str()?.to_owned()))
}

fn read<T: FromStr>(entry: &Path, file: &str) -> Option<T> {
    std::fs::read_to_string(entry.join(file)).ok()?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_its_mac_address_or_its_device() {
        let class = tempfile::tempdir().unwrap();
        for (name, mac, index) in [("lo", "00:00:00:00:00:00", "1"), ("eth0", "02:00:5e:10:00:01", "2")] {
            std::fs::create_dir(class.path().join(name)).unwrap();
            std::fs::write(class.path().join(name).join("address"), format!("{mac}\n")).unwrap();
            std::fs::write(class.path().join(name).join("ifindex"), format!("{index}\n")).unwrap();
        }
        assert_eq!(find(class.path(), "02:00:5e:10:00:01".parse().unwrap()), Some((2, "eth0".to_owned())));
        assert_eq!(find(class.path(), "02:00:5e:10:00:02".parse().unwrap()), None);
        assert_eq!(first(class.path()), None);
        std::fs::create_dir(class.path().join("eth0/device")).unwrap();
        assert_eq!(first(class.path()), Some((2, "eth0".to_owned())));
    }
}
