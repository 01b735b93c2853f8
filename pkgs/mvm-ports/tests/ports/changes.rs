use super::support::*;
use mvm_host::realm::RealmKind;
use std::net::SocketAddr;

#[test]
fn a_running_vm_is_reached_as_soon_as_the_command_ends() {
    in_namespaces("changes::a_running_vm_is_reached_as_soon_as_the_command_ends", || {
        let world = World::with_vms(RealmKind::User, &["web", "db"]);
        let _proxy = world.proxy();
        world.up("web");
        guest(SocketAddr::new(world.address("web").into(), 3000), "web");
        guest(SocketAddr::new(world.address("db").into(), 3000), "db");
        assert_eq!(world.ok(&["add", "web", "8080:3000"]), "127.0.0.1:8080 -> web:3000/tcp\n");
        for at in ["127.0.0.1:8080", "[::1]:8080"] {
            assert_eq!(ask(at).as_deref(), Some("web"), "{at}");
        }
        // The same once more is success.
        world.ok(&["add", "web", "8080:3000"]);
        // One that does not run is stored only, and served once it is up.
        world.ok(&["add", "db", "8081:3000"]);
        assert_eq!(ask("127.0.0.1:8081"), None);
        world.up("db");
        assert_eq!(ask("127.0.0.1:8081").as_deref(), Some("db"));
        world.ok(&["remove", "web", "8080"]);
        assert_eq!(ask("127.0.0.1:8080"), None);
        assert_eq!(world.ok(&["remove", "web", "8080"]), "");
        assert_eq!(world.stored("web"), []);
        world.assert_agreement("at the end");
    });
}

#[test]
fn any_free_port_is_chosen_once_and_kept() {
    in_namespaces("changes::any_free_port_is_chosen_once_and_kept", || {
        let world = World::with_vms(RealmKind::User, &["web", "db"]);
        let _proxy = world.proxy();
        world.up("web");
        world.ok(&["add", "web", "0:3000", "0:3000", "0:53/udp"]);
        world.ok(&["add", "db", "0:3000"]);
        let mut ports: Vec<u16> =
            world.stored("web").iter().chain(&world.stored("db")).map(|forward| forward.host).collect();
        assert_eq!(ports.len(), 4);
        ports.sort_unstable();
        ports.dedup();
        assert!(ports.len() >= 3 && ports[0] > 0, "only UDP may have a port of TCP's: {ports:?}");
        world.assert_agreement("with chosen ports");
    });
}

#[test]
fn sync_finds_what_is_missing_left_over_or_elsewhere() {
    in_namespaces("changes::sync_finds_what_is_missing_left_over_or_elsewhere", || {
        let world = World::with_vms(RealmKind::User, &["web", "db", "gone"]);
        assert_eq!(world.ok(&["sync"]), "no VM runs: nothing is served\n");
        let _proxy = world.proxy();
        world.ok(&["add", "web", "8080:3000", "8081:3000"]);
        world.ok(&["add", "gone", "8090:3000"]);
        ["web", "db", "gone"].iter().for_each(|name| world.up(name));
        assert_eq!(world.ok(&["sync"]), "all forwards are as stored\n");
        {
            // Behind the proxy's back.
            let lock = world.store.lock_forwards().unwrap();
            let name = mvm_spec::VmName::new("web").unwrap();
            let (add, remove) = (forwards(&["8082:3000"]), forwards(&["8080:3000"]));
            world.store.change_forwards(&lock, &name, &add, &remove).unwrap();
            world.store.delete(&mvm_spec::VmName::new("gone").unwrap()).unwrap();
        }
        let said = world.ok(&["sync"]);
        let expected = "removed 127.0.0.1:8090 -> gone:3000/tcp\n\
                        removed 127.0.0.1:8080 -> web:3000/tcp\n\
                        added 127.0.0.1:8082 -> web:3000/tcp\n";
        assert_eq!(said, expected);
        assert_eq!(world.ok(&["sync"]), "all forwards are as stored\n");
        assert_eq!(world.served().len(), 2);
        world.assert_agreement("after a sync");
        let report: serde_json::Value = serde_json::from_str(&world.ok(&["sync", "--json"])).unwrap();
        assert_eq!(report["vms"][1]["name"], "web");
    });
}

#[test]
fn ten_thousand_forwards_are_synchronized() {
    in_namespaces_as_root("changes::ten_thousand_forwards_are_synchronized", || {
        // A loopback forward has two sockets; on another address it has one, within this machine's limit of files.
        let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        let count = (hard.min(20_000) / 2).min(10_000) as u16;
        let world = World::with_vms(RealmKind::User, &["web"]);
        let _proxy = world.proxy();
        let last = 20_000 + count - 1;
        world.ok(&["add", "web", &format!("127.0.0.2:20000-{last}:20000-{last}")]);
        assert_eq!(world.stored("web").len(), usize::from(count));
        let name = mvm_spec::VmName::new("web").unwrap();
        // Up, and with nothing: as after a crash right at the start.
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mut client =
                mvm_host::ports::proxy::Client::connect(&world.realm.ports_socket()).await.unwrap().unwrap();
            client.set(&name, world.address("web"), Vec::new()).await.unwrap();
        });
        for round in ["from nothing", "again"] {
            let start = std::time::Instant::now();
            world.ok(&["sync"]);
            println!("sync of {count} forwards, {round}: {:?}", start.elapsed());
        }
        world.assert_agreement("ten thousand");
        let start = std::time::Instant::now();
        world.ok(&["add", "web", "127.0.0.2:8080:1"]);
        println!("one more: {:?}", start.elapsed());
        world.ok(&["remove", "web", &format!("20000-{last}")]);
        assert_eq!(world.stored("web"), forwards(&["127.0.0.2:8080:1"]));
        world.assert_agreement("after their removal");
    });
}
