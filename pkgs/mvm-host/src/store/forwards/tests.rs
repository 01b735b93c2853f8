use super::disk::Redo;
use super::*;
use crate::store::tests::{draft, store, topology};
use mvm_spec::forward::ForwardRequest;
use proptest::prelude::*;

fn forward(text: &str) -> Forward {
    let request: ForwardRequest = text.parse().unwrap();
    request.forwards().next().unwrap()
}

fn forwards(texts: &[&str]) -> Vec<Forward> {
    texts.iter().map(|text| forward(text)).collect()
}

/// A store with VMs, and the names in it.
fn with_vms(names: &[&str]) -> (tempfile::TempDir, Store, Vec<VmName>) {
    let (dir, store) = store();
    store.create(names.iter().map(|name| draft(name)).collect(), &topology()).unwrap();
    (dir, store, names.iter().map(|name| VmName::new(*name).unwrap()).collect())
}

fn shown(store: &Store, name: &VmName) -> Vec<String> {
    store.forwards(name).unwrap().iter().map(|stored| stored.forward.to_string()).collect()
}

fn change(store: &Store, name: &VmName, add: &[&str], remove: &[&str]) -> ForwardsChange {
    let lock = store.lock_forwards().unwrap();
    store.change_forwards(&lock, name, &forwards(add), &forwards(remove)).unwrap()
}

#[test]
fn what_was_added_is_found_sorted_and_by_its_port() {
    let (_dir, store, names) = with_vms(&["a", "b"]);
    change(&store, &names[0], &["9000:1", "53:53/udp", "80:80", "10.0.0.1:80:81", "8000:2"], &[]);
    change(&store, &names[1], &["10.0.0.2:80:80"], &[]);
    assert_eq!(shown(&store, &names[0]), ["80:80", "10.0.0.1:80:81", "8000:2", "9000:1", "53:53/udp"]);
    let lock = store.lock_forwards().unwrap();
    let on_80 = store.holders(&lock, Protocol::Tcp, 80).unwrap();
    let on_80: Vec<_> = on_80.iter().map(|(name, held)| format!("{name} {}", held.forward)).collect();
    assert_eq!(on_80, ["a 80:80", "a 10.0.0.1:80:81", "b 10.0.0.2:80:80"]);
    assert!(store.holders(&lock, Protocol::Udp, 80).unwrap().is_empty());
}

#[test]
fn what_is_so_already_is_success_and_no_change() {
    let (_dir, store, names) = with_vms(&["a"]);
    let first = change(&store, &names[0], &["80:80", "81:81"], &["82:82"]);
    assert_eq!((first.added.len(), first.removed.len()), (2, 0));
    assert_eq!(change(&store, &names[0], &["80:80", "81:81"], &[]), ForwardsChange::default());
    let both = change(&store, &names[0], &["80:90"], &["80:80"]);
    assert_eq!((both.added, both.removed), (forwards(&["80:90"]), forwards(&["80:80"])));
    assert_eq!(shown(&store, &names[0]), ["80:90", "81:81"]);
}

#[test]
fn one_address_and_port_leads_to_one_place() {
    let (_dir, store, names) = with_vms(&["a"]);
    change(&store, &names[0], &["80:80"], &[]);
    let lock = store.lock_forwards().unwrap();
    let error = store.change_forwards(&lock, &names[0], &forwards(&["81:1", "127.0.0.1:80:1"]), &[]);
    assert!(error.unwrap_err().to_string().contains("127.0.0.1:80:1"));
    assert_eq!(shown(&store, &names[0]), ["80:80"]);
}

#[test]
fn forwards_come_and_go_with_their_vm() {
    let (_dir, store, names) = with_vms(&["a"]);
    let mut declaring = draft("b");
    declaring.forwards = forwards(&["80:80", "10.0.0.1:80:80"]);
    let lock = store.lock_forwards().unwrap();
    let vm = crate::store::NewVm { spec: declaring, forwards: forwards(&["81:81"]), workload: None };
    store.create_with(&lock, vec![vm], &topology()).unwrap();
    let b = VmName::new("b").unwrap();
    let declared: Vec<_> = store
        .forwards(&b)
        .unwrap()
        .iter()
        .map(|stored| (stored.forward.to_string(), stored.declared))
        .collect();
    let expected = [("80:80", true), ("10.0.0.1:80:80", true), ("81:81", false)];
    assert_eq!(declared, expected.map(|(text, declared)| (text.to_owned(), declared)));
    store.delete(&b).unwrap();
    assert!(store.forwards(&b).unwrap().is_empty());
    assert!(store.holders(&lock, Protocol::Tcp, 80).unwrap().is_empty());
    let gone = store.change_forwards(&lock, &b, &forwards(&["80:80"]), &[]);
    assert!(matches!(gone, Err(Error::NoSuchVm(_))));
    assert!(shown(&store, &names[0]).is_empty());
}

#[test]
fn an_interrupted_change_is_seen_as_done_and_finished_by_the_next_lock() {
    let (_dir, store, names) = with_vms(&["a"]);
    change(&store, &names[0], &["80:80", "81:81"], &[]);
    let dir = store.paths(&names[0]).forwards();
    let entry = |text: &str| StoredForward { forward: forward(text), declared: false };
    let redo = serde_json::json!({"version": 1, "files": {
        "tcp-80": [], "tcp-82": [entry("82:82")], "tcp-83": [entry("83:83")],
    }});
    std::fs::write(dir.join(".redo"), redo.to_string()).unwrap();
    // Half of it had happened.
    std::fs::remove_file(dir.join("tcp-80")).unwrap();
    std::fs::write(dir.join(".tmp"), "{").unwrap();
    let wanted = ["81:81", "82:82", "83:83"];
    assert_eq!(shown(&store, &names[0]), wanted);
    drop(store.lock_forwards().unwrap());
    assert!(!dir.join(".redo").exists());
    assert_eq!(shown(&store, &names[0]), wanted);
    change(&store, &names[0], &["84:84"], &[]);
    assert!(!dir.join(".tmp").exists());
}

#[test]
fn damaged_and_newer_files_are_named() {
    let (_dir, store, names) = with_vms(&["a"]);
    change(&store, &names[0], &["80:80"], &[]);
    let file = store.paths(&names[0]).forwards().join("tcp-80");
    let damaged = ["{", "v2 80:80", "v1 80:", "v1 80-81:80-81", "v1 0:80", "v1  80:80", "v"];
    for text in damaged {
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(text, &file).unwrap();
        let error = store.forwards(&names[0]).unwrap_err().to_string();
        assert!(error.contains("tcp-80"), "{error}");
        assert_eq!(text.starts_with("v2"), error.contains("newer program"), "{error}");
    }
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, "v1 80:80").unwrap();
    let error = store.forwards(&names[0]).unwrap_err().to_string();
    assert!(error.contains("tcp-80") && error.contains("not a symbolic link"), "{error}");
}

#[test]
fn a_port_of_more_addresses_than_can_be_stored_is_refused_and_nothing_changes() {
    let (_dir, store, names) = with_vms(&["a"]);
    let many: Vec<String> = (0..400).map(|n| format!("[fd00:1111:2222:3333::{n:x}]:80:80")).collect();
    let few: Vec<&str> = many.iter().take(50).map(String::as_str).collect();
    change(&store, &names[0], &few, &[]);
    assert_eq!(shown(&store, &names[0]).len(), 50, "more than an inode holds");
    let mut many = forwards(&many.iter().map(String::as_str).collect::<Vec<_>>());
    many.push(forward("81:81"));
    let lock = store.lock_forwards().unwrap();
    let error = store.change_forwards(&lock, &names[0], &many, &[]).unwrap_err().to_string();
    assert!(error.contains("tcp-80") && error.contains("400"), "{error}");
    drop(lock);
    assert_eq!(shown(&store, &names[0]).len(), 50);
}

#[test]
fn files_are_private_and_nothing_temporary_stays() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store, names) = with_vms(&["a"]);
    let many: Vec<String> = (1000..1100).map(|port| format!("{port}:{port}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(change(&store, &names[0], &many, &[]).added.len(), 100);
    let dir = store.paths(&names[0]).forwards();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(name.starts_with("tcp-1") || name == ".generation", "{entry:?}");
        let metadata = entry.metadata().unwrap();
        assert!(metadata.is_symlink() || metadata.permissions().mode() & 0o777 == 0o600, "{entry:?}");
    }
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    change(&store, &names[0], &[], &many);
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, [".generation"], "the count of changes alone");
}

#[test]
fn readers_without_the_lock_see_changes_whole() {
    let (_dir, store, names) = with_vms(&["a"]);
    let (old, new) = (["80:1", "81:1", "82:1"], ["80:2", "81:2", "82:2"]);
    change(&store, &names[0], &old, &[]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..30 {
                change(&store, &names[0], &new, &old);
                change(&store, &names[0], &old, &new);
            }
        });
        while !writer.is_finished() {
            let seen = shown(&store, &names[0]);
            assert!(seen == old || seen == new, "{seen:?}");
        }
    });
}

#[test]
fn a_redo_record_survives_its_text_form() {
    let redo = Redo::of(BTreeMap::from([(
        "udp-53".to_owned(),
        vec![StoredForward { forward: forward("[::1]:53:53/udp"), declared: true }],
    )]));
    let text = serde_json::to_string(&redo).unwrap();
    assert_eq!(serde_json::from_str::<Redo>(&text).unwrap(), redo);
}

/// Few ports, addresses and targets, so that changes meet.
fn any_forward() -> impl Strategy<Value = Forward> {
    let address = prop_oneof![Just(None), Just(Some([10, 0, 0, 1].into())), Just(Some([0, 0, 0, 0].into()))];
    let proto = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
    (proto, address, 1u16..5, 1u16..3).prop_map(|(proto, address, host, guest)| Forward {
        proto,
        address,
        host,
        guest,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_changes_ends_as_a_set_would(
        steps in prop::collection::vec(
            (0usize..2, prop::collection::vec(any_forward(), 0..4), prop::collection::vec(any_forward(), 0..4)),
            1..12,
        )
    ) {
        let (_dir, store, names) = with_vms(&["a", "b"]);
        let mut model: Vec<Vec<Forward>> = vec![Vec::new(), Vec::new()];
        for (vm, add, remove) in steps {
            let mut wanted = model[vm].clone();
            wanted.retain(|forward| !remove.contains(forward));
            let mut possible = true;
            for forward in &add {
                if !wanted.contains(forward) {
                    possible &= !wanted.iter().any(|other| other.conflicts(forward));
                    wanted.push(forward.clone());
                }
            }
            let lock = store.lock_forwards().unwrap();
            let result = store.change_forwards(&lock, &names[vm], &add, &remove);
            prop_assert_eq!(result.is_ok(), possible);
            if possible {
                model[vm] = wanted;
            }
            for (name, model) in names.iter().zip(&model) {
                let mut model = model.clone();
                model.sort_by_key(|f| (f.proto, f.host, f.address, f.guest));
                let stored: Vec<_> =
                    store.forwards(name).unwrap().into_iter().map(|stored| stored.forward).collect();
                prop_assert_eq!(stored, model);
            }
        }
    }
}
