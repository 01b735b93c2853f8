use super::*;
use crate::net::topology::SharedBridge;
use mvm_spec::egress::Egress;
use mvm_spec::latest::{Guest, Network, Persistence, Resources, User, VERSION};
use mvm_spec::net::Cidr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

fn subnet() -> Cidr {
    "192.168.100.1/28".parse().unwrap()
}

pub(super) fn topology() -> SharedBridge {
    SharedBridge { bridge: "virbr-mvm".to_owned(), address: subnet() }
}

pub(super) fn draft(name: &str) -> VmSpec {
    let name = VmName::new(name).unwrap();
    VmSpec {
        version: VERSION,
        resources: Resources { vcpu: 1, mem_mib: 256 },
        guest: Guest::Embedded { kernel: None },
        project: None,
        user: User { name: "dev".to_owned(), uid: 1000, gid: 1000 },
        network: Some(Network {
            bridge: "virbr-mvm".to_owned(),
            mac: name.mac(),
            address: subnet(),
            gateway: subnet().address,
            egress: Egress::Outbound,
            peers: Vec::new(),
        }),
        forwards: Vec::new(),
        persistence: Persistence::default(),
        environment: std::collections::BTreeMap::new(),
        ephemeral: false,
        name,
    }
}

pub(super) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path());
    (dir, store)
}

fn address(spec: &VmSpec) -> String {
    spec.network.as_ref().unwrap().address.to_string()
}

#[test]
fn what_is_created_is_found_again_and_private() {
    let (dir, store) = store();
    let made = store.create(vec![draft("b"), draft("a")], &topology()).unwrap();
    assert_eq!(store.names().unwrap().iter().map(VmName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    let stored = store.get(&made[0].name).unwrap();
    assert_eq!(stored.spec, made[0]);
    assert_eq!(stored.state.machine_id.len(), 32);
    let paths = store.paths(&made[0].name);
    for file in [paths.host_key(), paths.user_key(), paths.state(), paths.spec()] {
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
    let known = std::fs::read_to_string(paths.known_hosts()).unwrap();
    assert!(known.starts_with("b.mvm ssh-ed25519 "), "{known}");
    assert!(
        std::fs::read_dir(dir.path())
            .unwrap()
            .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with(".new-") })
    );
}

#[test]
fn an_address_is_kept_for_life_and_used_again_after_it() {
    let (_dir, store) = store();
    let first = store.create(vec![draft("a"), draft("b"), draft("c")], &topology()).unwrap();
    assert_eq!(
        first.iter().map(address).collect::<Vec<_>>(),
        [2, 3, 4].map(|n| format!("192.168.100.{n}/28"))
    );
    store.delete(&first[1].name).unwrap();
    assert_eq!(address(&store.create(vec![draft("d")], &topology()).unwrap()[0]), "192.168.100.3/28");
    assert_eq!(address(&store.get(&first[2].name).unwrap().spec), "192.168.100.4/28");
}

#[test]
fn all_or_none_is_created() {
    let (dir, store) = store();
    store.create(vec![draft("b")], &topology()).unwrap();
    let taken = store.create(vec![draft("a"), draft("b"), draft("c")], &topology());
    assert!(matches!(taken, Err(Error::NameTaken(name)) if name.as_str() == "b"));
    let many = (0..20).map(|n| draft(&format!("vm-{n}"))).collect();
    assert!(matches!(store.create(many, &topology()), Err(Error::SubnetFull { used: 1, .. })));
    assert_eq!(store.names().unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "the VM and the locks");
}

#[test]
fn deletion_takes_directories_that_lost_their_permissions() {
    let (dir, store) = store();
    let made = store.create(vec![draft("a")], &topology()).unwrap();
    let locked = store.paths(&made[0].name).work().join("work");
    std::fs::create_dir_all(locked.join("inner")).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    store.delete(&made[0].name).unwrap();
    assert!(matches!(store.delete(&made[0].name), Err(Error::NoSuchVm(_))));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the locks");
}

#[test]
fn a_damaged_vm_hides_no_other() {
    let (_dir, store) = store();
    let made = store.create(vec![draft("a"), draft("b")], &topology()).unwrap();
    std::fs::write(store.paths(&made[0].name).spec(), "{").unwrap();
    let list = store.list().unwrap();
    assert!(matches!(&list[0], (_, Err(Error::Spec { .. }))));
    assert!(list[1].1.is_ok());
    store.delete(&made[0].name).unwrap();
}

#[test]
fn a_sweep_takes_what_is_half_made_and_nothing_else() {
    let (dir, store) = store();
    store.create(vec![draft("a")], &topology()).unwrap();
    for left in [".new-x", ".trash-y"] {
        std::fs::create_dir(dir.path().join(left)).unwrap();
    }
    assert_eq!(store.sweep().unwrap().len(), 2);
    assert_eq!(store.names().unwrap().len(), 1);
    let mut ephemeral = draft("e");
    ephemeral.ephemeral = true;
    store.create(vec![ephemeral], &topology()).unwrap();
    assert_eq!(store.sweep_ephemeral(Duration::from_secs(300)).unwrap(), []);
    let name = VmName::new("e").unwrap();
    store.update_state(&name, |state| state.created_at -= 301).unwrap();
    assert_eq!(store.sweep_ephemeral(Duration::from_secs(300)).unwrap(), [name]);
}

#[test]
fn parallel_changes_of_the_state_are_all_kept() {
    let (_dir, store) = store();
    let name = store.create(vec![draft("a")], &topology()).unwrap()[0].name.clone();
    store.update_state(&name, |state| state.started_at = Some(0)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    store
                        .update_state(&name, |state| state.started_at = state.started_at.map(|n| n + 1))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(store.get(&name).unwrap().state.started_at, Some(200));
}
