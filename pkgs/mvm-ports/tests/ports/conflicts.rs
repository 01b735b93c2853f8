use super::support::*;
use mvm_host::realm::RealmKind;
use std::net::{TcpListener, UdpSocket};

#[test]
fn what_can_t_be_had_is_refused_before_anything_changes() {
    in_namespaces("conflicts::what_can_t_be_had_is_refused_before_anything_changes", || {
        let world = World::with_vms(RealmKind::User, &["web", "shop-1"]);
        world.ok(&["add", "shop-1", "8080:3000"]);
        let _tcp = TcpListener::bind("127.0.0.1:8081").unwrap();
        let _udp = UdpSocket::bind("[::1]:8082").unwrap();
        let me = format!("(process {})", std::process::id());
        for (wanted, said) in [
            ("8080:1", "port 8080 is taken by VM shop-1 (8080:3000); choose another, or 0 for any free one"),
            ("0.0.0.0:8080:1", "taken by VM shop-1"),
            ("8081:1", me.as_str()),
            ("8082:1/udp", me.as_str()),
            ("80:80", "net.ipv4.ip_unprivileged_port_start"),
            ("10.9.8.7:8083:1", "the host has no such address"),
        ] {
            for running in [false, true] {
                // What could be had is not taken either.
                let text = if running {
                    let _proxy = world.proxy();
                    world.up("web");
                    world.refused(&["add", "web", "9000:1", wanted])
                } else {
                    world.refused(&["add", "web", "9000:1", wanted])
                };
                assert!(text.contains(said), "{wanted}: {text}");
                assert_eq!(world.stored("web"), [], "{wanted}");
                assert_eq!(ask("127.0.0.1:9000"), None);
            }
        }
        // Other protocol, other address: no conflict.
        world.ok(&["add", "web", "8080:1/udp", "127.0.0.2:8080:1", "8081:1/udp"]);
        assert_eq!(world.stored("web").len(), 3);
        assert!(world.refused(&["add", "nosuch", "1:1"]).contains("there is no VM `nosuch`"));
        assert!(world.refused(&["add", "web", "8080:2/udp"]).contains("remove it first"));
    });
}

#[test]
fn what_the_proxy_refuses_is_taken_back() {
    in_namespaces("conflicts::what_the_proxy_refuses_is_taken_back", || {
        let world = World::with_vms(RealmKind::User, &["web"]);
        let proxy = world.proxy();
        world.up("web");
        // The proxy alone may have no more files.
        let pid = nix::libc::pid_t::try_from(proxy.pid()).unwrap();
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let status = std::process::Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &format!("--nofile={}:", open + 6)])
            .status()
            .unwrap();
        assert!(status.success());
        let text = world.refused(&["add", "web", "9000-9100:1-101"]);
        assert!(text.contains("as many files open as it may"), "{text}");
        assert_eq!(world.stored("web"), []);
        world.assert_agreement("after a refusal");
        world.ok(&["add", "web", "9000:1"]);
        world.assert_agreement("with room");
    });
}

#[test]
fn declared_forwards_stay() {
    in_namespaces("conflicts::declared_forwards_stay", || {
        let world = World::new(RealmKind::User);
        let mut declaring = spec("web");
        declaring.forwards = forwards(&["8080:3000"]);
        world.store.create(vec![declaring], &*world.realm.config.topology().unwrap()).unwrap();
        world.ok(&["add", "web", "8081:3000"]);
        let text = world.refused(&["remove", "web", "8081", "8080"]);
        assert!(text.contains("comes from the VM's spec"), "{text}");
        assert_eq!(world.stored("web").len(), 2);
    });
}
