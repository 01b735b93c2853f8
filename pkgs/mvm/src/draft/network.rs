//! Options of the network: forwards, peers, and what the VM may reach outside.

use clap::{Args, ValueEnum};
use mvm_spec::VmName;
use mvm_spec::egress::{Destination, Egress};
use mvm_spec::forward::ForwardRequest;

/// The options, of `create` and `run`.
#[derive(Args, Clone, Debug, Default)]
pub struct NetworkArgs {
    /// No network: the VM reaches nothing, and is reached by mvm alone.
    #[arg(long, conflicts_with_all = ["port", "peer", "egress", "allow"])]
    pub no_network: bool,
    /// Lead a port of this host to one of the VM: 8080:3000, 127.0.0.1:53:53/udp, 3000-3010:3000-3010, 0:3000 for any
    /// free port. Without an address, this host's loopback alone. May be repeated.
    #[arg(long, short, value_name = "FORWARD")]
    pub port: Vec<ForwardRequest>,
    /// Let the VM and the VM NAME reach each other. May be repeated.
    #[arg(long, value_name = "NAME", value_parser = crate::target::parse_name, add = crate::complete::vm_names())]
    pub peer: Vec<VmName>,
    /// What the VM may reach outside [default: outbound].
    #[arg(long, value_name = "POLICY", conflicts_with = "allow")]
    pub egress: Option<Policy>,
    /// Let the VM reach this name (and those below it), address or network, and otherwise nothing outside. May be
    /// repeated.
    #[arg(long, value_name = "DESTINATION")]
    pub allow: Vec<Destination>,
}

/// `--egress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// Everything but this host and other VMs.
    Outbound,
    /// Nothing.
    None,
}

impl NetworkArgs {
    /// What the VM may reach outside.
    pub fn egress(&self) -> Egress {
        match (self.allow.as_slice(), self.egress) {
            ([], None | Some(Policy::Outbound)) => Egress::Outbound,
            ([], Some(Policy::None)) => Egress::None,
            (allow, _) => Egress::Allow { to: unique(allow) },
        }
    }

    /// The peers, each once.
    pub fn peers(&self) -> Vec<VmName> {
        unique(&self.peer)
    }

    /// What is allowed, but may not be meant: peers that are not there.
    pub fn warnings(&self, exists: impl Fn(&VmName) -> bool) -> Vec<String> {
        let missing = self.peers().into_iter().filter(|peer| !exists(peer));
        missing.map(|peer| format!("there is no VM `{peer}` yet; a VM of that name will be a peer")).collect()
    }
}

fn unique<T: Clone + PartialEq>(items: &[T]) -> Vec<T> {
    let mut unique: Vec<T> = Vec::with_capacity(items.len());
    for item in items {
        if !unique.contains(item) {
            unique.push(item.clone());
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allow_list_is_a_policy_of_its_own() {
        assert_eq!(NetworkArgs::default().egress(), Egress::Outbound);
        let none = NetworkArgs { egress: Some(Policy::None), ..NetworkArgs::default() };
        assert_eq!(none.egress(), Egress::None);
        let to: Vec<Destination> = ["example.com", "10.0.0.0/8"].map(|text| text.parse().unwrap()).to_vec();
        let allow = NetworkArgs { allow: [to.clone(), to.clone()].concat(), ..NetworkArgs::default() };
        assert_eq!(allow.egress(), Egress::Allow { to });
    }

    #[test]
    fn peers_that_are_missing_are_told() {
        let names = ["a", "b", "a"].map(|name| VmName::new(name).unwrap());
        let args = NetworkArgs { peer: names.to_vec(), ..NetworkArgs::default() };
        assert_eq!(args.peers(), names[..2]);
        let warnings = args.warnings(|name| name.as_str() == "a");
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("`b`"), "{warnings:?}");
    }
}
