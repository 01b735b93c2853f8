//! A crash at each step: afterwards, one `sync` makes store and proxy agree, and the change happened whole or not at
//! all.

use super::support::*;
use mvm_host::realm::RealmKind;
use std::os::unix::process::ExitStatusExt;

/// Runs the program until it kills itself at `point`.
fn crash(world: &World, point: &str, args: &[&str]) {
    let status = world.command(args).env(mvm_host::fault::VARIABLE, point).status().unwrap();
    assert_eq!(status.signal(), Some(9), "{args:?} never came by `{point}`");
}

/// What a change comes to if it is interrupted there.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Before,
    After,
}
use Then::{After, Before};

const ONE: &[(&str, Then)] = &[("port-locked", Before), ("port-stored", After), ("port-served", After)];
const SEVERAL: &[(&str, Then)] = &[
    ("port-locked", Before),
    ("forwards-begin", Before),
    ("forwards-redo", After),
    ("forwards-first-put", After),
    ("forwards-put", After),
    ("port-stored", After),
    ("port-served", After),
];

#[test]
fn a_change_happens_whole_or_not_at_all() {
    in_namespaces("crashes::a_change_happens_whole_or_not_at_all", || {
        let world = World::with_vms(RealmKind::User, &["web", "idle"]);
        let _proxy = world.proxy();
        world.up("web");
        world.ok(&["add", "web", "7000:1"]);
        let several = ["add", "web", "8000:1", "8001:2", "8002:3/udp"];
        let removal = ["remove", "web", "8000", "8001", "8002/udp"];
        let run = |points: &[(&str, Then)], extra: &[(&str, Then)], args: &[&str]| {
            for (point, then) in points.iter().chain(extra) {
                let before = world.stored("web");
                crash(&world, point, args);
                world.ok(&["sync"]);
                let what = format!("{args:?} at {point}");
                world.assert_agreement(&what);
                let now = world.stored("web");
                assert_eq!(now != before, *then == After, "{what}: {before:?} became {now:?}");
                // Once more, uninterrupted, it ends as it would have; then back.
                world.ok(args);
                world.assert_agreement(&what);
                let opposite = if args[0] == "add" { "remove" } else { "add" };
                let back = [&[opposite], &args[1..]].concat();
                let back: Vec<String> = back.iter().map(ToString::to_string).collect();
                let back: Vec<&str> = back.iter().map(String::as_str).collect();
                let back = if args == removal { several.to_vec() } else { back };
                world.ok(&back);
                assert_eq!(world.stored("web"), before, "{what}");
            }
        };
        run(ONE, &[("proxy-added", After)], &["add", "web", "8080:3000"]);
        run(SEVERAL, &[("proxy-added", After)], &several);
        world.ok(&several);
        run(SEVERAL, &[("maps-removed", After)], &removal);
        run(ONE, &[("maps-removed", After)], &["remove", "web", "7000:1"]);
    });
}

#[test]
fn a_vm_that_is_started_after_a_crash_has_the_change_whole() {
    in_namespaces("crashes::a_vm_that_is_started_after_a_crash_has_the_change_whole", || {
        let world = World::with_vms(RealmKind::User, &["web"]);
        let _proxy = world.proxy();
        crash(&world, "forwards-first-put", &["add", "web", "8000-8019:1-20"]);
        // As the keeper does, under the lock, which finishes it.
        world.up("web");
        assert_eq!(world.stored("web").len(), 20);
        world.assert_agreement("after the start");
    });
}

#[test]
fn a_sync_that_crashed_is_done_by_the_next() {
    in_namespaces("crashes::a_sync_that_crashed_is_done_by_the_next", || {
        let world = World::with_vms(RealmKind::User, &["a", "b", "gone"]);
        let _proxy = world.proxy();
        world.ok(&["add", "a", "8000:1", "8001:1"]);
        world.ok(&["add", "b", "8010:1"]);
        world.ok(&["add", "gone", "8020:1"]);
        ["a", "b", "gone"].iter().for_each(|name| world.up(name));
        for (round, point) in ["sync-locked", "sync-first", "sync-done"].into_iter().enumerate() {
            let port = format!("{}:1", 8100 + round);
            {
                let lock = world.store.lock_forwards().unwrap();
                let name = |name| mvm_spec::VmName::new(name).unwrap();
                world.store.change_forwards(&lock, &name("a"), &forwards(&[&port]), &[]).unwrap();
                let stored = world.stored("b");
                world.store.change_forwards(&lock, &name("b"), &[], &stored).unwrap();
                // Goes in the first round, is gone in the others.
                let _ = world.store.delete(&name("gone"));
            }
            crash(&world, point, &["sync"]);
            world.ok(&["sync"]);
            world.assert_agreement(point);
            assert_eq!(world.served().len(), 2, "{point}");
            assert_eq!(world.ok(&["sync"]), "all forwards are as stored\n", "{point}");
        }
    });
}
