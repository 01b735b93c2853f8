//! The addresses of the host itself. A user realm's uplink makes a guest's connections from the host's namespace, where
//! each of these would reach the host's own services; so guests are kept from all of them, as they come and go.

use super::link::Links;
use crate::{Error, Result};
use futures::StreamExt;
use rtnetlink::MulticastGroup;
use std::net::Ipv4Addr;
use tokio::sync::watch;

/// The host's IPv4 addresses now, sorted, without loopback. Call it on a thread in the host's network namespace.
pub async fn list() -> Result<Vec<Ipv4Addr>> {
    let found = Links::open()?.addresses().await?;
    let mut addresses: Vec<Ipv4Addr> = found
        .into_iter()
        .map(|found| found.address.address)
        .filter(|address| !address.is_loopback())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Keeps `sender` up to date until nobody listens any more. Run it on a thread in the host's network namespace.
pub async fn follow(sender: watch::Sender<Vec<Ipv4Addr>>) -> Result<()> {
    // Listening begins before listing, so that no change falls between.
    let (connection, _handle, mut changes) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Ipv4Ifaddr])
            .map_err(Error::system("follow the host's addresses"))?;
    let connection = tokio::spawn(connection);
    let followed = async {
        loop {
            let now = list().await?;
            sender.send_if_modified(|known| {
                let changed = *known != now;
                *known = now;
                changed
            });
            tokio::select! {
                change = changes.next() => if change.is_none() {
                    return Err(Error::Failed("the kernel closed the netlink socket".to_owned()));
                },
                () = sender.closed() => return Ok(()),
            }
        }
    };
    let result = followed.await;
    connection.abort();
    result
}
