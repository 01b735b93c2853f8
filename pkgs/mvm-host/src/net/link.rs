//! Bridges, addresses and ports, by rtnetlink(7), in the network namespace of the thread that opens [`Links`].

use super::conflict::{self, Conflict, InterfaceAddress};
use super::sysctl;
use crate::{Error, Result};
use futures::{StreamExt, TryStreamExt};
use mvm_spec::net::{Cidr, MacAddr};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour_table::{
    NeighbourTableAttribute, NeighbourTableMessage, NeighbourTableParameter,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

/// A bridge as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgePlan {
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// Its address, the guests' gateway, and their subnet.
    pub address: Cidr,
    /// Largest packet, in bytes.
    pub mtu: u32,
    /// How long it is there.
    pub lifetime: Lifetime,
}

/// How long a bridge is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the realm's network.
    Realm,
    /// From its first guest to its last.
    Guests,
}

impl BridgePlan {
    /// The bridge's MAC address: derived from its name and address, locally administered. A bridge without one of its
    /// own takes the lowest of its ports', which a guest's coming or going would change under the others.
    pub fn mac(&self) -> MacAddr {
        let digest = Sha256::digest(format!("microvm-dev bridge {} {}", self.name, self.address).as_bytes());
        MacAddr([0x02, digest[0], digest[1], digest[2], digest[3], digest[4]])
    }
}

/// A tap as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapPlan {
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// The bridge it becomes an isolated port of.
    pub bridge: String,
    /// Largest packet, in bytes.
    pub mtu: u32,
}

/// A connection to the kernel's network configuration. Needs a tokio runtime, whose thread must stay in its namespace.
#[derive(Clone, Debug)]
pub struct Links {
    handle: Handle,
}

impl Links {
    /// Opens a connection to the namespace of the calling thread.
    pub fn open() -> Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(Error::system("open a netlink socket"))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Brings the loopback interface up.
    pub async fn loopback_up(&self) -> Result<()> {
        let loopback = self.get("lo").await?.ok_or_else(|| no_interface("lo"))?;
        self.up(loopback.header.index, "lo").await
    }

    /// Whether the bridge can be made: its index if it exists, and whether it lacks its address. An interface of another
    /// kind, one with other addresses, and one whose subnet overlaps, are errors that name it.
    pub async fn check_bridge(&self, plan: &BridgePlan) -> Result<(Option<u32>, bool)> {
        let BridgePlan { name, address, lifetime, .. } = plan;
        let setting = match lifetime {
            Lifetime::Realm => "subnet",
            Lifetime::Guests => "subnets",
        };
        let existing = self.get(name).await?;
        if let Some(link) = &existing
            && kind(link) != Some(&InfoKind::Bridge)
        {
            return Err(Error::Failed(format!(
                "the interface `{name}` exists and is no bridge; {}remove it",
                if *lifetime == Lifetime::Realm { "set another `bridge` in config.toml, or " } else { "" }
            )));
        }
        let index = existing.as_ref().map(|link| link.header.index);
        let addresses = self.addresses().await?;
        match conflict::check(*address, index, &addresses) {
            Ok(missing) => Ok((index, missing)),
            Err(Conflict::Own(found)) => Err(Error::Failed(format!(
                "the bridge `{name}` has the address {found}, not {address}; stop its VMs and remove it \
                 (`ip link delete {name}`){}",
                match lifetime {
                    Lifetime::Realm => format!(", or set `subnet = \"{found}\"` in config.toml"),
                    Lifetime::Guests => String::new(),
                }
            ))),
            Err(Conflict::Other { index, address: found }) => {
                let other = self.name_of(index).await?;
                Err(Error::Failed(format!(
                    "the subnet of bridge `{name}` ({address}) overlaps with {found} of the interface `{other}`; set \
                     another `{setting}` in config.toml, and make the VMs in it anew"
                )))
            }
        }
    }

    /// Makes the bridge, with its address, up. One that is so already is left alone; errors are those of
    /// [`Self::check_bridge`], and then nothing has changed.
    pub async fn ensure_bridge(&self, plan: &BridgePlan) -> Result<()> {
        let BridgePlan { name, address, mtu, .. } = plan;
        let (existing, missing) = self.check_bridge(plan).await?;
        let index = match existing {
            Some(index) => index,
            None => {
                let bridge = LinkBridge::new(name).address(plan.mac().0.to_vec()).build();
                self.handle
                    .link()
                    .add(bridge)
                    .execute()
                    .await
                    .map_err(|error| explain(format!("create the bridge `{name}`"), error))?;
                self.index(name).await?
            }
        };
        let made = async {
            sysctl::apply(&sysctl::plan_bridge(name))?;
            self.answer_at_once(index, name).await?;
            let settings = LinkUnspec::new_with_index(index).mtu(*mtu).build();
            self.handle
                .link()
                .change(settings)
                .execute()
                .await
                .map_err(|error| explain(format!("set the MTU of `{name}` to {mtu}"), error))?;
            if missing {
                self.handle
                    .address()
                    .add(index, IpAddr::V4(address.address), address.prefix)
                    .execute()
                    .await
                    .map_err(|error| explain(format!("give {address} to `{name}`"), error))?;
            }
            self.up(index, name).await
        };
        match made.await {
            Err(error) if existing.is_none() => {
                // The first error is the one to report.
                self.delete_index(index, name).await.ok();
                Err(error)
            }
            result => result,
        }
    }

    /// Makes a bare tap, of which there is no port yet ([`super::tap::open`]), a port of its bridge that is isolated from
    /// the other ports before it is up.
    ///
    /// Errors: no such tap, or no such bridge.
    pub async fn attach_tap(&self, plan: &TapPlan) -> Result<()> {
        let TapPlan { name, bridge, mtu, .. } = plan;
        let controller = self.get(bridge).await?.ok_or_else(|| no_interface(bridge))?.header.index;
        let index = self.index(name).await?;
        sysctl::apply(&sysctl::plan_interface(name))?;
        let settings = LinkUnspec::new_with_index(index).mtu(*mtu).controller(controller).build();
        self.handle
            .link()
            .set(settings)
            .execute()
            .await
            .map_err(|error| explain(format!("make `{name}` a port of the bridge `{bridge}`"), error))?;
        let port = LinkBridgePort::new(index).isolated(true).build();
        self.handle
            .link()
            .set_port(port)
            .execute()
            .await
            .map_err(|error| explain(format!("isolate the bridge port `{name}`"), error))?;
        self.up(index, name).await
    }

    /// Takes a tap that [`Self::attach_tap`] put there off its bridge, down; whoever made it removes it. Already gone is
    /// success.
    pub async fn release_tap(&self, name: &str) -> Result<()> {
        let Some(link) = self.get(name).await? else { return Ok(()) };
        let settings = LinkUnspec::new_with_index(link.header.index).down().nocontroller().build();
        match self.handle.link().set(settings).execute().await {
            // It went meanwhile.
            Err(_) if self.get(name).await?.is_none() => Ok(()),
            result => result.map_err(|error| explain(format!("take `{name}` off its bridge"), error)),
        }
    }

    /// Removes an interface; already gone is success.
    pub async fn delete_link(&self, name: &str) -> Result<()> {
        match self.get(name).await? {
            Some(link) => self.delete_index(link.header.index, name).await,
            None => Ok(()),
        }
    }

    /// Removes a bridge; already gone is success, an interface of another kind an error.
    pub async fn delete_bridge(&self, name: &str) -> Result<()> {
        match self.get(name).await? {
            Some(link) if kind(&link) == Some(&InfoKind::Bridge) => {
                self.delete_index(link.header.index, name).await
            }
            Some(_) => Err(Error::Failed(format!("`{name}` is no bridge; it was not made here and stays"))),
            None => Ok(()),
        }
    }

    /// All IPv4 addresses of the namespace.
    pub async fn addresses(&self) -> Result<Vec<InterfaceAddress>> {
        let mut found = Vec::new();
        let mut answers = self.handle.address().get().execute();
        while let Some(message) =
            answers.try_next().await.map_err(|error| explain("list the addresses".to_owned(), error))?
        {
            if message.header.family != AddressFamily::Inet {
                continue;
            }
            let mut address = None;
            for attribute in message.attributes {
                match attribute {
                    // Of a point-to-point link, `Address` is the other end's.
                    AddressAttribute::Local(IpAddr::V4(local)) => address = Some(local),
                    AddressAttribute::Address(IpAddr::V4(other)) => address = address.or(Some(other)),
                    _ => {}
                }
            }
            if let Some(address) = address {
                let address = Cidr { address, prefix: message.header.prefix_len };
                found.push(InterfaceAddress { index: message.header.index, address });
            }
        }
        Ok(found)
    }

    /// Whether the interface exists, is up and has `address`.
    pub async fn is_up_with(&self, name: &str, address: Ipv4Addr) -> Result<bool> {
        let Some(link) = self.get(name).await? else { return Ok(false) };
        let index = link.header.index;
        Ok(link.header.flags.contains(LinkFlags::Up)
            && self.addresses().await?.iter().any(|a| a.index == index && a.address.address == address))
    }

    /// Names of all interfaces.
    pub async fn names(&self) -> Result<HashSet<String>> {
        let mut names = HashSet::new();
        let mut answers = self.handle.link().get().execute();
        while let Some(link) =
            answers.try_next().await.map_err(|error| explain("list the interfaces".to_owned(), error))?
        {
            names.extend(link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            }));
        }
        Ok(names)
    }

    /// Has the interface answer ARP requests for others (`proxy_arp_pvlan`) without the usual pause of up to 0.8 s, which
    /// is for networks with several who answer (arp(7), `proxy_delay`). By netlink, because the sysctl is not there in a
    /// user namespace.
    async fn answer_at_once(&self, index: u32, name: &str) -> Result<()> {
        let mut table = NeighbourTableMessage::default();
        table.header.family = AddressFamily::Inet;
        let parameters =
            vec![NeighbourTableParameter::Ifindex(index), NeighbourTableParameter::ProxyDelay(0)];
        table.attributes = vec![
            NeighbourTableAttribute::Name("arp_cache".to_owned()),
            NeighbourTableAttribute::Parms(parameters),
        ];
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::SetNeighbourTable(table));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let action = || format!("set the ARP delay of `{name}`");
        let mut answers = self.handle.clone().request(request).map_err(|error| explain(action(), error))?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(message) = answer.payload
                && message.code.is_some()
            {
                return Err(explain(action(), rtnetlink::Error::NetlinkError(message)));
            }
        }
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<LinkMessage>> {
        let mut answers = self.handle.link().get().match_name(name).execute();
        match answers.try_next().await {
            Ok(link) => Ok(link),
            Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::ENODEV => Ok(None),
            Err(error) => Err(explain(format!("look up the interface `{name}`"), error)),
        }
    }

    async fn index(&self, name: &str) -> Result<u32> {
        Ok(self.get(name).await?.ok_or_else(|| no_interface(name))?.header.index)
    }

    async fn name_of(&self, index: u32) -> Result<String> {
        let link = self.handle.link().get().match_index(index).execute().try_next().await;
        let link = link.map_err(|error| explain(format!("look up the interface {index}"), error))?;
        let name = link.and_then(|link| {
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
        });
        Ok(name.unwrap_or_else(|| index.to_string()))
    }

    async fn up(&self, index: u32, name: &str) -> Result<()> {
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle
            .link()
            .set(up)
            .execute()
            .await
            .map_err(|error| explain(format!("bring up the interface `{name}`"), error))
    }

    async fn delete_index(&self, index: u32, name: &str) -> Result<()> {
        match self.handle.link().del(index).execute().await {
            Err(rtnetlink::Error::NetlinkError(message)) if message.raw_code() == -libc::ENODEV => Ok(()),
            result => result.map_err(|error| explain(format!("remove the interface `{name}`"), error)),
        }
    }
}

fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind),
            _ => None,
        }),
        _ => None,
    })
}

fn no_interface(name: &str) -> Error {
    Error::Failed(format!("there is no interface `{name}` in this network namespace"))
}

fn explain(action: String, error: rtnetlink::Error) -> Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            let source = message.to_io();
            match source.raw_os_error() {
                Some(libc::EPERM) => Error::Failed(format!(
                    "can't {action}: {source}; it needs CAP_NET_ADMIN over the network namespace"
                )),
                Some(libc::EOPNOTSUPP) => Error::Failed(format!(
                    "can't {action}: {source}; is the kernel module there? (`modprobe bridge`)"
                )),
                _ => Error::System { action, source },
            }
        }
        other => Error::Failed(format!("can't {action}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridges_mac_address_is_local_and_unicast() {
        let address = "192.168.100.1/24".parse().unwrap();
        let plan = BridgePlan { name: "virbr-mvm".into(), address, mtu: 1500, lifetime: Lifetime::Realm };
        assert_eq!(plan.mac().0[0] & 3, 2);
    }
}
