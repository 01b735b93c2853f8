//! Names and addresses for guests: DNS and DHCP by dnsmasq (package `dnsmasq-base`).
//!
//! ```text
//! guest ──53──► Dnsmasq, one a bridge ────────────────────────────┐
//!                 *.mvm from hosts/, leases from dhcp/            ├─► upstream: the host's name servers, or those set
//! restricted ──53 redirected to PORT──► Resolver, one a VM ───────┘
//! guest           *.mvm from the same hosts/; the allowed names go upstream and their
//!                 addresses into the VM's nft set; any other name does not exist
//! ```
//!
//! - [`config`]: the configuration files (pure)
//! - [`layout`]: the directory of an instance; [`hosts`]: the files of VMs in it
//! - [`bridge`]: [`Dnsmasq`]; [`resolver`]: [`Resolver`]; [`instance`]: what both are, a sandboxed process
//!   ([`crate::dnsmasq_process`])
//! - [`upstream`]: follows the host's resolv.conf
//! - [`query`], [`release`]: a DNS question and a DHCP release, to see that a change has taken effect

pub mod bridge;
pub mod config;
pub mod hosts;
pub mod instance;
pub mod layout;
pub mod query;
mod release;
pub mod resolver;
pub mod upstream;

pub use bridge::Dnsmasq;
pub use instance::Launcher;
pub use resolver::Resolver;
pub use upstream::Upstream;

use mvm_spec::VmName;
use mvm_spec::net::{Cidr, MacAddr};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The domain of VMs. Not one of those that are reserved (RFC 6761), and not in the public DNS.
pub const DOMAIN: &str = "mvm";
/// Name of the bridge's own address, in [`DOMAIN`]. The underscore keeps it apart from VMs' names; systemd-resolved
/// uses the same label.
pub const GATEWAY: &str = "_gateway";

/// What serves a bridge should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsmasqPlan {
    /// The bridge's interface name.
    pub bridge: String,
    /// Its address, which is the guests' router and name server, and their subnet.
    pub address: Cidr,
    /// Largest packet of guests, in bytes.
    pub mtu: u32,
    /// Directory of the instance's own ([`layout`]); the same after a restart, which then knows names and leases.
    pub dir: PathBuf,
    /// Who answers other names.
    pub upstream: Upstream,
    /// Whether to log each query and lease, at level debug.
    pub log_queries: bool,
}

/// What resolves names for one restricted VM should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverPlan {
    /// The VM.
    pub name: VmName,
    /// The bridge's interface name.
    pub bridge: String,
    /// The bridge's address.
    pub address: Ipv4Addr,
    /// Port on that address, above 1023.
    pub port: u16,
    /// Directory of the instance's own.
    pub dir: PathBuf,
    /// Names that resolve, with all below them; none for a VM that reaches nothing.
    pub names: Vec<String>,
    /// Set of type `ipv4_addr` in our `inet` table that the addresses of `names` go to.
    pub set: String,
    /// Who answers `names`.
    pub upstream: Upstream,
    /// Names of VMs: [`layout::Layout::hosts`] of the bridge's instance.
    pub hosts: PathBuf,
    /// Whether to log each query, at level debug.
    pub log_queries: bool,
}

/// A VM as DHCP and DNS know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmHost {
    /// Its name: `NAME` and `NAME.mvm` lead to `address`, and back.
    pub name: VmName,
    /// Its MAC address, by which DHCP knows it.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
}
