//! Version 1 of the spec.

use crate::egress::Egress;
use crate::forward::Forward;
use crate::net::{Cidr, MacAddr};
use crate::{Violation, VmName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The value of `version`.
pub const VERSION: u64 = 1;
/// Where a guest finds the project.
pub const PROJECT_MOUNT: &str = "/project";
/// Least memory an embedded guest boots with, in MiB.
pub const MEM_MIN_MIB: u64 = 128;

/// What a VM is. Immutable once written; what changes at run time is state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmSpec {
    /// Version of this format: 1.
    pub version: u64,
    /// The VM's name, unique in its realm.
    pub name: VmName,
    /// What the VM may use.
    pub resources: Resources,
    /// What boots in it.
    pub guest: Guest,
    /// The host's directory that the VM works on a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Project>,
    /// The guest's ordinary user.
    pub user: User,
    /// The VM's place in the network; none for a VM without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Ports of the host that lead into the VM, as declared; more can be added at run time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    /// What survives a stop.
    #[serde(default)]
    pub persistence: Persistence,
    /// Variables of every login and command in the guest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// A VM of one command (`mvm run`): gone with the process that asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ephemeral: bool,
}

/// What a VM may use of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// Virtual CPUs.
    pub vcpu: u32,
    /// Memory of the guest, in MiB.
    pub mem_mib: u64,
}

/// What boots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, tag = "kind")]
pub enum Guest {
    /// The embedded guest: a distribution's kernel, `mvm-guest` as init, the host's software.
    #[serde(rename_all = "camelCase")]
    Embedded {
        /// A kernel image other than the one found on the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kernel: Option<PathBuf>,
    },
    /// A NixOS system that microvm.nix builds and runs: declared by the host's configuration, run by its systemd.
    #[serde(rename_all = "camelCase")]
    Nixos {
        /// The VMM, by microvm.nix's name for it: `qemu`, `cloud-hypervisor`, `firecracker`, ….
        hypervisor: String,
    },
}

/// The project directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Project {
    /// Absolute path on the host. Never written to: changes go to an overlay of the VM's own.
    pub path: PathBuf,
}

/// The guest's ordinary user, who has the ids of the project's owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Numeric user id; 0 makes `name` a second name of root.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
}

/// The VM's place in the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// The bridge its tap is a port of.
    pub bridge: String,
    /// MAC address of the guest's interface.
    pub mac: MacAddr,
    /// The guest's address and its subnet.
    pub address: Cidr,
    /// The bridge's address: the guest's default route.
    pub gateway: Ipv4Addr,
    /// What the VM may reach outside.
    #[serde(default, skip_serializing_if = "Egress::is_outbound")]
    pub egress: Egress,
    /// Other VMs that it reaches, and that reach it; one of a pair naming the other is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<VmName>,
}

/// What survives a stop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "tool", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Persistence {
    /// Keep the project's changes and a home disk.
    #[serde(default)]
    pub enable: bool,
    /// Size of the home disk, in MiB; sparse, so that only what is written takes space.
    #[serde(default = "default_home_mib")]
    pub home_mib: u64,
}

fn default_home_mib() -> u64 {
    4096
}

impl VmSpec {
    /// The rules that a well-formed spec breaks; empty for a good one.
    pub fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut rule = |holds: bool, field: &str, problem: String| {
            if !holds {
                violations.push(Violation { field: field.to_owned(), problem });
            }
        };
        let Resources { vcpu, mem_mib } = self.resources;
        rule((1..=255).contains(&vcpu), "resources.vcpu", format!("{vcpu} is not within 1 to 255"));
        rule(
            mem_mib >= MEM_MIN_MIB,
            "resources.memMib",
            format!("{mem_mib} MiB is too little to boot; give at least {MEM_MIN_MIB}"),
        );
        match &self.guest {
            Guest::Embedded { kernel: None } => {}
            Guest::Embedded { kernel: Some(kernel) } => {
                rule(
                    kernel.is_absolute(),
                    "guest.kernel",
                    format!("`{}` must be absolute", kernel.display()),
                );
            }
            Guest::Nixos { hypervisor } => {
                rule(
                    !hypervisor.is_empty() && hypervisor.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
                    "guest.hypervisor",
                    format!("`{hypervisor}` is no hypervisor's name: lower-case letters and `-`"),
                );
                rule(
                    !self.ephemeral,
                    "ephemeral",
                    "a declared VM stays as long as its declaration".to_owned(),
                );
            }
        }
        if let Some(Project { path }) = &self.project {
            rule(path.is_absolute(), "project.path", format!("`{}` must be absolute", path.display()));
        }
        rule(
            is_login_name(&self.user.name),
            "user.name",
            format!("`{}` is no login name: [a-z_][a-z0-9_-]*, at most 31 characters", self.user.name),
        );
        if let Some(network) = &self.network {
            let Network { bridge, mac, address, gateway, egress, peers } = network;
            rule(
                (1..=15).contains(&bridge.len())
                    && !bridge.contains(['/', ' ', ':'])
                    && bridge != ".."
                    && bridge != ".",
                "network.bridge",
                format!("`{bridge}` is no interface name of 1 to 15 characters"),
            );
            rule(
                mac.0[0] & 1 == 0,
                "network.mac",
                format!("{mac} is a multicast address; clear its lowest bit"),
            );
            rule(
                address.address != address.network() && address.address != address.last(),
                "network.address",
                format!("{address} is its subnet's network or broadcast address; take one between"),
            );
            rule(
                address.contains(*gateway),
                "network.gateway",
                format!("{gateway} is not in the subnet of {address}"),
            );
            rule(
                address.address != *gateway,
                "network.gateway",
                format!("{gateway} is the VM's own address; take another for one of them"),
            );
            rule(
                !matches!(egress, Egress::Allow { to } if to.is_empty()),
                "network.egress.to",
                "an empty list allows nothing; write `\"policy\": \"none\"`".to_owned(),
            );
            rule(
                !peers.contains(&self.name),
                "network.peers",
                format!("`{}` is the VM itself; leave it out", self.name),
            );
        }
        rule(
            self.network.is_some() || self.forwards.is_empty(),
            "forwards",
            "a VM without a network has no ports to forward to".to_owned(),
        );
        for (index, forward) in self.forwards.iter().enumerate() {
            rule(
                forward.host != 0 && forward.guest != 0,
                &format!("forwards[{index}]"),
                format!("{forward}: ports are 1 to 65535"),
            );
            let earlier = self.forwards.iter().take(index).find(|other| other.conflicts(forward));
            if let Some(other) = earlier {
                rule(
                    false,
                    &format!("forwards[{index}]"),
                    format!("{forward} takes the host's port of {other}; choose another"),
                );
            }
        }
        rule(
            !self.persistence.enable || self.persistence.home_mib >= 16,
            "persistence.homeMib",
            "a home disk needs at least 16 MiB".to_owned(),
        );
        for (name, value) in &self.environment {
            let field = format!("environment.{name}");
            rule(
                is_variable_name(name),
                &field,
                format!("`{name}` is no variable name: [A-Za-z_][A-Za-z0-9_]*"),
            );
            rule(!value.contains('\0'), &field, "a value can't hold a NUL character".to_owned());
        }
        violations
    }
}

/// POSIX portable names of users (IEEE 1003.1, 3.437), in the stricter form useradd takes.
fn is_login_name(name: &str) -> bool {
    name.len() <= 31
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

/// Names of environment variables (IEEE 1003.1, 8.1).
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
