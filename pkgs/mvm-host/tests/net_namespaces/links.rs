//! Bridges, taps, settings.

use crate::support::{NetThread, Place, in_namespaces, shell};
use mvm_host::net::link::{BridgePlan, Lifetime, Links, TapPlan};
use mvm_host::net::{nft, ruleset, sysctl, tap};

fn bridge() -> BridgePlan {
    let address = "192.168.100.1/24".parse().unwrap();
    BridgePlan { name: "virbr-mvm".into(), address, mtu: 1400, lifetime: Lifetime::Realm }
}

fn port(name: &str) -> TapPlan {
    TapPlan { name: name.into(), bridge: "virbr-mvm".into(), mtu: 1400 }
}

#[test]
fn a_bridge_is_made_once_and_keeps_its_taps_apart() {
    in_namespaces("links::a_bridge_is_made_once_and_keeps_its_taps_apart", || {
        let realm = NetThread::spawn(Place::New);
        let tap = realm.run(async {
            let links = Links::open().unwrap();
            links.loopback_up().await.unwrap();
            links.ensure_bridge(&bridge()).await.unwrap();
            links.ensure_bridge(&bridge()).await.unwrap();
            let file = tap::open("mvm-a").unwrap();
            let error = tap::open("mvm-a").unwrap_err().to_string();
            assert!(error.contains("`mvm-a`") && error.contains("another process"), "{error}");
            links.attach_tap(&port("mvm-a")).await.unwrap();
            file
        });
        realm.shell(
            "ip -d link show mvm-a | grep -q 'mtu 1400 .*master virbr-mvm'
             ip -d link show mvm-a | grep -q 'isolated on'
             ip -d link show mvm-a | grep -q 'vnet_hdr on persist off'
             ip link show up | grep -q mvm-a
             ip -4 -o address show dev virbr-mvm | grep -q 192.168.100.1/24
             ip link show virbr-mvm | grep -q 'mtu 1400'
             test -z \"$(ip -6 address show dev virbr-mvm)$(ip -6 address show dev mvm-a)\"",
        );
        // The tap goes with its file.
        drop(tap);
        realm.shell("fails ip link show mvm-a");
        // The process's own namespace, the "host's", has none of it.
        shell("fails ip link show virbr-mvm");
        realm.run(async {
            let links = Links::open().unwrap();
            links.delete_link("mvm-a").await.unwrap();
            links.delete_bridge("virbr-mvm").await.unwrap();
            links.delete_bridge("virbr-mvm").await.unwrap();
        });
        realm.shell("fails ip link show virbr-mvm");
    });
}

#[test]
fn conflicts_are_named_and_change_nothing() {
    in_namespaces("links::conflicts_are_named_and_change_nothing", || {
        let realm = NetThread::spawn(Place::New);
        realm.shell("ip link add other type veth peer name peer; ip address add 192.168.0.7/16 dev other");
        realm.run(async {
            let links = Links::open().unwrap();
            let error = links.ensure_bridge(&bridge()).await.unwrap_err().to_string();
            assert!(error.contains("`other`") && error.contains("192.168.0.7/16"), "{error}");
            let named_other = BridgePlan { name: "other".into(), ..bridge() };
            let error = links.ensure_bridge(&named_other).await.unwrap_err().to_string();
            assert!(error.contains("`other` exists and is no bridge"), "{error}");
            let error = links.delete_bridge("other").await.unwrap_err().to_string();
            assert!(error.contains("no bridge"), "{error}");
            let tap = tap::open("mvm-a").unwrap();
            let error = links.attach_tap(&port("mvm-a")).await.unwrap_err().to_string();
            assert!(error.contains("`virbr-mvm`"), "{error}");
            drop(tap);
        });
        realm.shell("fails ip link show virbr-mvm; fails ip link show mvm-a; ip link delete other");
        realm.run(async {
            let links = Links::open().unwrap();
            links.ensure_bridge(&bridge()).await.unwrap();
            let error = links.attach_tap(&port("mvm-a")).await.unwrap_err().to_string();
            assert!(error.contains("`mvm-a`"), "{error}");
            let moved = BridgePlan { address: "10.3.0.1/24".parse().unwrap(), ..bridge() };
            let error = links.ensure_bridge(&moved).await.unwrap_err().to_string();
            assert!(error.contains("192.168.100.1/24, not 10.3.0.1/24"), "{error}");
            let second = BridgePlan { name: "virbr-two".into(), ..bridge() };
            let error = links.ensure_bridge(&second).await.unwrap_err().to_string();
            assert!(error.contains("overlaps") && error.contains("`virbr-mvm`"), "{error}");
        });
    });
}

#[test]
fn settings_are_those_of_the_calling_threads_namespace() {
    in_namespaces("links::settings_are_those_of_the_calling_threads_namespace", || {
        use mvm_host::realm::RealmKind;
        let read = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim().to_owned();
        let realm = NetThread::spawn(Place::New);
        sysctl::apply(&sysctl::plan_namespace(RealmKind::User, sysctl::Forwarding::Off)).unwrap();
        realm.call(|| {
            sysctl::apply(&sysctl::plan_namespace(RealmKind::User, sysctl::Forwarding::On)).unwrap()
        });
        assert_eq!((read(), realm.call(read)), ("0".to_owned(), "1".to_owned()));
        let missing = sysctl::Sysctl { path: "ipv4/conf/nosuch/rp_filter".into(), value: "1" };
        let error = sysctl::apply(&[missing]).unwrap_err().to_string();
        assert!(error.contains("ipv4/conf/nosuch/rp_filter"), "{error}");
    });
}

#[test]
fn rules_are_taken_as_one_and_refused_with_nfts_own_words() {
    in_namespaces("links::rules_are_taken_as_one_and_refused_with_nfts_own_words", || {
        let realm = NetThread::spawn(Place::New);
        realm.run(async {
            let rules = ruleset::Ruleset {
                services: vec![ruleset::HostService::Dns, ruleset::HostService::Dhcp],
                outside: Some(ruleset::Outside {
                    link: Some("192.0.0.2/29".parse().unwrap()),
                    resolver: Some([192, 0, 0, 3].into()),
                    host_addresses: vec![[10, 9, 8, 7].into(), [172, 17, 0, 1].into()],
                }),
                ..ruleset::Ruleset::default()
            };
            nft::apply("add table inet foreign").await.unwrap();
            nft::apply(&ruleset::render(&rules)).await.unwrap();
            nft::apply(&ruleset::render(&rules)).await.unwrap();
            let table = nft::read_back("inet", ruleset::TABLE).await.unwrap();
            for expected in ["10.9.8.7", "172.17.0.1", "masquerade", "guest to guest", "th dport @dns accept"]
            {
                assert!(table.contains(expected), "{expected} in {table}");
            }
            nft::apply(&ruleset::render_host_addresses(&[[10, 9, 8, 6].into()])).await.unwrap();
            let table = nft::read_back("inet", ruleset::TABLE).await.unwrap();
            assert!(table.contains("10.9.8.6") && !table.contains("10.9.8.7"), "{table}");
            let text = format!("add table inet half\n{}\nnonsense", ruleset::render(&rules));
            let error = nft::apply(&text).await.unwrap_err().to_string();
            assert!(error.contains("syntax error"), "{error}");
            nft::read_back("inet", "half").await.unwrap_err();
            nft::apply(&ruleset::render_removal()).await.unwrap();
            nft::apply(&ruleset::render_removal()).await.unwrap();
            nft::read_back("inet", ruleset::TABLE).await.unwrap_err();
            nft::read_back("inet", "foreign").await.unwrap();
        });
    });
}

#[test]
fn a_tap_by_itself_is_in_no_namespace_of_ours() {
    in_namespaces("links::a_tap_by_itself_is_in_no_namespace_of_ours", || {
        let realm = NetThread::spawn(Place::New);
        // Any number at a time: each has its own.
        let taps = realm.call(|| [tap::open_alone().unwrap(), tap::open_alone().unwrap()]);
        realm.shell("fails ip link show tap");
        shell("fails ip link show tap");
        for tap in taps {
            let flags = nix::fcntl::fcntl(&tap, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
    });
}

#[test]
fn qemu_takes_the_taps_file() {
    in_namespaces("links::qemu_takes_the_taps_file", || {
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};
        use std::io::Write;
        use std::os::fd::AsRawFd;
        use std::process::{Command, Stdio};
        let realm = NetThread::spawn(Place::New);
        let file = realm.call(|| tap::open("mvm-a").unwrap());
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let mut qemu = Command::new("qemu-system-x86_64")
            .args(["-machine", "none", "-nodefaults", "-display", "none", "-monitor", "stdio"])
            .args(["-netdev", &format!("tap,id=net,vhost=off,fd={}", file.as_raw_fd())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        qemu.stdin.take().unwrap().write_all(b"info network\nquit\n").unwrap();
        let output = qemu.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("net: index=0,type=tap"), "{text}");
    });
}
