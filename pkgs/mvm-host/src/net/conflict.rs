//! Whether a bridge's address goes together with those a namespace has already.

use mvm_spec::net::Cidr;

/// An IPv4 address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's index.
    pub index: u32,
    /// The address and its subnet.
    pub address: Cidr,
}

/// Which existing address stands against a plan.
#[derive(Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The bridge has another one.
    Own(Cidr),
    /// Another interface's subnet overlaps.
    Other {
        /// Index of that interface.
        index: u32,
        /// Its address.
        address: Cidr,
    },
}

/// Whether the bridge, of `index` if it exists, still lacks the address `wanted`, given all addresses of the namespace.
pub fn check(wanted: Cidr, index: Option<u32>, addresses: &[InterfaceAddress]) -> Result<bool, Conflict> {
    let mut missing = true;
    for InterfaceAddress { index: of, address } in addresses {
        if Some(*of) == index {
            if *address != wanted {
                return Err(Conflict::Own(*address));
            }
            missing = false;
        } else if address.overlaps(&wanted) {
            return Err(Conflict::Other { index: *of, address: *address });
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Cidr {
        "192.168.100.1/24".parse().unwrap()
    }

    fn at(index: u32, address: &str) -> InterfaceAddress {
        InterfaceAddress { index, address: address.parse().unwrap() }
    }

    #[test]
    fn addresses_elsewhere_do_not_matter() {
        let others = [at(1, "127.0.0.1/8"), at(2, "192.168.101.1/24")];
        assert_eq!(check(wanted(), None, &others), Ok(true));
    }

    #[test]
    fn a_bridge_that_has_its_address_lacks_none() {
        assert_eq!(check(wanted(), Some(3), &[at(3, "192.168.100.1/24")]), Ok(false));
    }

    #[test]
    fn overlapping_subnets_of_other_interfaces_are_conflicts() {
        for other in ["192.168.100.77/32", "192.168.0.1/16", "192.168.100.1/24"] {
            let conflict = Conflict::Other { index: 2, address: other.parse().unwrap() };
            assert_eq!(check(wanted(), Some(3), &[at(2, other)]), Err(conflict));
        }
    }

    #[test]
    fn another_address_of_the_bridge_is_a_conflict() {
        let conflict = Conflict::Own("10.0.0.1/24".parse().unwrap());
        assert_eq!(check(wanted(), Some(3), &[at(3, "10.0.0.1/24")]), Err(conflict));
    }
}
