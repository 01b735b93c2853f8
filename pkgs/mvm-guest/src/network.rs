//! The guest's network, by rtnetlink(7).

use anyhow::{Context, bail};
use mvm_spec::control::GuestNetwork;
use mvm_spec::net::MacAddr;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Index of the loopback interface: the first of a network namespace (net/core/dev.c).
const LOOPBACK: u32 = 1;

/// Brings the loopback interface up.
pub async fn loopback() -> anyhow::Result<()> {
    let up = LinkUnspec::new_with_index(LOOPBACK).up().build();
    let work = async |handle: &Handle| handle.link().set(up).execute().await;
    connected(work).await?.context("can't bring the loopback interface up")
}

/// Configures the interface that `network` names, which may take `limit` to appear.
pub async fn configure(network: &GuestNetwork, limit: Duration) -> anyhow::Result<()> {
    connected(async |handle: &Handle| apply(handle, network, limit).await).await?
}

/// Runs `work` with a connection to the kernel.
async fn connected<T>(work: impl AsyncFnOnce(&Handle) -> T) -> anyhow::Result<T> {
    let (connection, handle, _) = rtnetlink::new_connection().context("can't open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let result = work(&handle).await;
    connection.abort();
    Ok(result)
}

async fn apply(handle: &Handle, network: &GuestNetwork, limit: Duration) -> anyhow::Result<()> {
    let GuestNetwork { mac, address, gateway, mtu, .. } = network;
    let (index, name) = wait_for_interface(*mac, limit).await?;
    without_ipv6(&name)?;
    handle
        .address()
        .add(index, address.address.into(), address.prefix)
        .execute()
        .await
        .with_context(|| format!("can't give the interface with MAC address {mac} the address {address}"))?;
    let up = LinkUnspec::new_with_index(index).mtu(*mtu).up().build();
    handle.link().set(up).execute().await.with_context(|| {
        format!("can't bring the interface with MAC address {mac} up with an MTU of {mtu}")
    })?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(*gateway).output_interface(index).build();
    handle
        .route()
        .add(route)
        .execute()
        .await
        .with_context(|| format!("can't set the default route by {gateway}"))
}

async fn wait_for_interface(mac: MacAddr, limit: Duration) -> anyhow::Result<(u32, String)> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = find(Path::new("/sys/class/net"), mac) {
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
    std::fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        let read = |file| std::fs::read_to_string(entry.path().join(file)).ok();
        let found: MacAddr = read("address")?.trim_end().parse().ok()?;
        if found != mac {
            return None;
        }
        Some((read("ifindex")?.trim_end().parse().ok()?, entry.file_name().into_string().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_its_mac_address() {
        let class = tempfile::tempdir().unwrap();
        for (name, mac, index) in [("lo", "00:00:00:00:00:00", "1"), ("eth0", "02:00:5e:10:00:01", "2")] {
            std::fs::create_dir(class.path().join(name)).unwrap();
            std::fs::write(class.path().join(name).join("address"), format!("{mac}\n")).unwrap();
            std::fs::write(class.path().join(name).join("ifindex"), format!("{index}\n")).unwrap();
        }
        assert_eq!(find(class.path(), "02:00:5e:10:00:01".parse().unwrap()), Some((2, "eth0".to_owned())));
        assert_eq!(find(class.path(), "02:00:5e:10:00:02".parse().unwrap()), None);
    }
}
