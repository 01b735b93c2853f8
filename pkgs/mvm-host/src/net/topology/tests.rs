use super::*;
use proptest::prelude::*;

fn shared(address: &str) -> SharedBridge {
    SharedBridge { bridge: "virbr-mvm".into(), address: address.parse().unwrap() }
}

fn per_vm(pool: &str) -> BridgePerVm {
    BridgePerVm { pool: pool.parse().unwrap(), busy: Vec::new() }
}

fn name(text: &str) -> VmName {
    VmName::new(text).unwrap()
}

/// Places `count` VMs, one after the other.
fn fill(topology: &dyn Topology, count: usize) -> Vec<Network> {
    let mut taken = Vec::new();
    for index in 0..count {
        let place = topology.place(&name(&format!("vm-{index}")), &taken).unwrap();
        taken.push(place);
    }
    taken
}

fn addresses(networks: &[Network]) -> Vec<String> {
    networks.iter().map(|network| network.address.to_string()).collect()
}

#[test]
fn vms_on_a_shared_bridge_begin_at_ten() {
    let topology = shared("192.168.100.1/24");
    let mut taken = fill(&topology, 3);
    assert_eq!(addresses(&taken), ["192.168.100.10/24", "192.168.100.11/24", "192.168.100.12/24"]);
    assert_eq!(
        (taken[0].bridge.as_str(), taken[0].gateway.to_string()),
        ("virbr-mvm", "192.168.100.1".into())
    );
    assert_eq!((taken[0].mac, taken[0].egress.is_outbound()), (name("vm-0").mac(), true));
    // A free place is taken again; the others stay.
    taken.remove(1);
    assert_eq!(topology.place(&name("d"), &taken).unwrap().address.to_string(), "192.168.100.11/24");
}

#[test]
fn small_subnets_are_used_up_and_full_is_an_error() {
    let topology = shared("192.168.100.3/29");
    topology.check().unwrap();
    let taken = fill(&topology, 5);
    assert_eq!(addresses(&taken), [1, 2, 4, 5, 6].map(|last| format!("192.168.100.{last}/29")));
    let full = topology.place(&name("x"), &taken).unwrap_err();
    assert!(matches!(full, Error::SubnetFull { used: 5, .. }), "{full}");
    let topology = per_vm("192.168.4.0/22");
    let taken = fill(&topology, 3);
    let full = topology.place(&name("x"), &taken).unwrap_err().to_string();
    assert!(full.contains("192.168.4.0/22: 3 VMs") && full.contains("`subnets`"), "{full}");
}

#[test]
fn each_vm_has_a_bridge_and_a_network_of_its_own() {
    let topology = per_vm("10.0.0.0/8");
    let mut taken = fill(&topology, 3);
    assert_eq!(addresses(&taken), ["10.1.0.2/24", "10.2.0.2/24", "10.3.0.2/24"]);
    assert_eq!((taken[1].bridge.as_str(), taken[1].gateway.to_string()), ("br-vm-1", "10.2.0.1".into()));
    taken.remove(0);
    assert_eq!(topology.place(&name("d"), &taken).unwrap().address.to_string(), "10.1.0.2/24");
    let plan = topology.bridge(&taken[0], 1500);
    assert_eq!((plan.name.as_str(), plan.address.to_string()), ("br-vm-1", "10.2.0.1/24".into()));
    assert_eq!(addresses(&fill(&per_vm("192.168.0.0/16"), 2)), ["192.168.1.2/24", "192.168.2.2/24"]);
    assert_eq!(addresses(&fill(&per_vm("172.16.0.0/12"), 2)), ["172.17.0.2/24", "172.18.0.2/24"]);
    assert_eq!(fill(&topology, 255).last().unwrap().address.to_string(), "10.255.0.2/24");
}

#[test]
fn a_place_of_another_topology_is_not_given_twice() {
    let wide = fill(&shared("10.1.0.1/15"), 1);
    assert_eq!(per_vm("10.0.0.0/8").place(&name("x"), &wide).unwrap().address.to_string(), "10.2.0.2/24");
}

#[test]
fn settings_that_can_not_work_are_refused_with_the_reason() {
    for (subnet, said) in [
        (
            "192.168.100.0/24",
            "names the network's address; write the bridge's own address, like 192.168.100.1/24",
        ),
        ("192.168.100.255/24", "broadcast"),
        ("192.168.100.1/30", "within /8 and /29"),
        ("10.0.0.1/7", "not within a private range"),
        ("127.0.0.1/24", "loopback"),
        ("169.254.1.1/24", "link-local"),
        ("224.0.0.1/24", "multicast"),
        ("255.255.255.254/24", "reserved"),
        ("0.1.2.3/24", "this network"),
        ("192.0.0.1/24", "the uplink's own link"),
        ("8.8.8.1/24", "not within a private range"),
        ("0.0.0.0/0", "this network"),
    ] {
        let error = shared(subnet).check().unwrap_err().to_string();
        assert!(
            error.contains(said) && error.contains(subnet) && error.contains("`subnet ="),
            "{subnet}: {error}"
        );
    }
    for (pool, said) in [
        ("10.0.0.0/15", "no room for three"),
        ("10.0.0.0/23", "no room for three"),
        ("10.0.0.0/32", "no room for three"),
        ("10.1.0.0/8", "write 10.0.0.0/8"),
        ("192.0.0.0/16", "the uplink's own link"),
        ("128.0.0.0/8", "not within a private range"),
    ] {
        let error = per_vm(pool).check().unwrap_err().to_string();
        assert!(error.contains(said) && error.contains("`subnets ="), "{pool}: {error}");
    }
    for bridge in ["", "sixteen-letters-", "a b", "a\"b", "..", "a/b"] {
        let error = SharedBridge { bridge: bridge.into(), ..shared("10.0.0.1/24") }.check().unwrap_err();
        assert!(error.to_string().contains("`bridge ="), "{bridge}: {error}");
    }
    for good in ["192.168.100.1/24", "10.255.255.254/8", "100.64.0.1/16", "192.168.100.6/29"] {
        shared(good).check().unwrap();
    }
    for good in ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "10.4.0.0/14", "10.0.0.0/22"] {
        per_vm(good).check().unwrap();
    }
}

#[test]
fn a_vm_of_other_settings_is_told_which() {
    let vm = name("shop");
    let of_shared = shared("192.168.100.1/24").place(&vm, &[]).unwrap();
    let of_its_own = per_vm("10.0.0.0/8").place(&vm, &[]).unwrap();
    shared("192.168.100.1/24").fits(&vm, &of_shared).unwrap();
    per_vm("10.0.0.0/8").fits(&vm, &of_its_own).unwrap();
    let error = per_vm("10.0.0.0/8").fits(&vm, &of_shared).unwrap_err().to_string();
    for said in [
        "`shop`",
        "`topology = \"shared-bridge\"`",
        "`bridge = \"virbr-mvm\"`",
        "`subnet = \"192.168.100.1/24\"`",
    ] {
        assert!(error.contains(said), "{error}");
    }
    let error = shared("192.168.100.1/24").fits(&vm, &of_its_own).unwrap_err().to_string();
    assert!(error.contains("bridge-per-vm") && error.contains("10.1.0.0/24"), "{error}");
    per_vm("192.168.0.0/16").fits(&vm, &of_its_own).unwrap_err();
    shared("192.168.100.2/24").fits(&vm, &of_shared).unwrap_err();
    shared("192.168.100.1/25").fits(&vm, &of_shared).unwrap_err();
}

#[test]
fn only_strangers_overlap() {
    let at = |index, address: &str| InterfaceAddress { index, address: address.parse().unwrap() };
    let addresses =
        [at(1, "127.0.0.1/8"), at(2, "192.168.0.5/16"), at(3, "192.168.100.1/24"), at(4, "10.1.0.1/24")];
    assert_eq!(shared("192.168.100.1/24").overlaps(&addresses), [at(2, "192.168.0.5/16")]);
    assert_eq!(per_vm("10.0.0.0/8").overlaps(&addresses), []);
    assert_eq!(per_vm("10.0.0.0/8").overlaps(&[at(5, "10.1.0.7/24")]), [at(5, "10.1.0.7/24")]);
}

proptest! {
    /// Whatever is deleted in between, no two VMs have an address in common, and each fits.
    #[test]
    fn no_two_vms_meet(
        shared_prefix in 20u8..=27, pool_prefix in prop::sample::select(vec![8u8, 12, 16, 20]), own: bool,
        deleted in prop::collection::vec(0usize..8, 0..8),
    ) {
        let topology: Box<dyn Topology> = if own {
            Box::new(per_vm(&format!("10.0.0.0/{pool_prefix}")))
        } else {
            Box::new(shared(&format!("10.0.0.1/{shared_prefix}")))
        };
        topology.check().unwrap();
        let mut vms: Vec<(VmName, Network)> = Vec::new();
        for step in 0..8usize {
            let taken: Vec<_> = vms.iter().map(|(_, network)| network.clone()).collect();
            let vm = name(&format!("vm-{step}"));
            let network = topology.place(&vm, &taken).unwrap();
            vms.push((vm, network));
            if let Some(gone) = deleted.get(step) && *gone < vms.len() {
                vms.remove(*gone);
            }
        }
        for (index, (vm, network)) in vms.iter().enumerate() {
            prop_assert!(topology.fits(vm, network).is_ok());
            prop_assert!(topology.space().contains(network.address.address));
            for (_, other) in &vms[..index] {
                prop_assert_ne!(network.address.address, other.address.address);
                prop_assert!(!own || !network.address.overlaps(&other.address));
            }
        }
    }
}

#[test]
fn no_new_network_overlaps_one_that_the_host_has() {
    let topology = BridgePerVm {
        pool: "10.0.0.0/8".parse().unwrap(),
        busy: vec![
            "10.1.7.9/16".parse().unwrap(),
            "10.3.0.77/24".parse().unwrap(),
            "192.168.0.1/24".parse().unwrap(),
        ],
    };
    let mut taken = Vec::new();
    for expected in ["10.2.0.2/24", "10.4.0.2/24"] {
        let name = VmName::new(format!("vm{}", taken.len())).unwrap();
        let place = topology.place(&name, &taken).unwrap();
        assert_eq!(place.address, expected.parse().unwrap());
        taken.push(place);
    }
}
