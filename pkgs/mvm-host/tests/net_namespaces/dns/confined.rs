//! What dnsmasq may do and see, and where it listens.

use super::{BRIDGE, add, addresses, guest, host, launcher, plan, realm, remove, servers, start};
use crate::support::{NetThread, in_namespaces};
use mvm_host::net::dnsmasq::{Dnsmasq, DnsmasqPlan};
use nix::unistd::User;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Local addresses and ports of all sockets in the thread's namespace that wait for somebody.
fn listening(thread: &NetThread) -> BTreeSet<String> {
    let tables = thread.call(|| {
        ["tcp", "udp", "tcp6", "udp6", "raw", "raw6", "packet"]
            .map(|table| (table, std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap()))
    });
    let mut sockets = BTreeSet::new();
    for (table, text) in tables {
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            match (table, fields[1].split_once(':')) {
                ("tcp" | "udp", Some((address, port))) => {
                    let address = Ipv4Addr::from(u32::from_str_radix(address, 16).unwrap().to_le_bytes());
                    let port = u16::from_str_radix(port, 16).unwrap();
                    sockets.insert(format!("{table} {address}:{port}"));
                }
                _ => {
                    sockets.insert(format!("{table} {line}"));
                }
            }
        }
    }
    sockets
}

fn status(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Checks that process `pid` has the capabilities in `mask` (bits of `linux/capability.h`) and can't get others.
pub fn assert_capabilities(pid: u32, mask: u64) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status(pid, set), format!("{mask:016x}"), "{set}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
}

#[test]
fn it_listens_on_its_bridge_and_sees_its_own_files_only() {
    in_namespaces("dns::confined::it_listens_on_its_bridge_and_sees_its_own_files_only", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        realm.shell(
            "ip link add other type bridge; ip address add 10.9.9.9/24 dev other; ip link set other up",
        );
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "of the user").unwrap();
        let dnsmasq = start(&realm, &plan(dir.path(), servers(&["127.0.0.1:5301"])));
        add(&realm, &dnsmasq, host("a", 10));
        // DHCP has to hear those who have no address yet. Its socket takes packets of the bridge only, see below.
        let expected = ["tcp 192.168.100.1:53", "udp 192.168.100.1:53", "udp 0.0.0.0:67"];
        assert_eq!(listening(&realm), expected.map(str::to_owned).into());
        let pid = dnsmasq.pid().unwrap();
        assert_capabilities(pid, 1 << 10 | 1 << 12);
        assert_eq!(status(pid, "NSpid").split(' ').next_back(), Some("1"), "alone in its process namespace");
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap());
        let entries = |path: &str| -> BTreeSet<String> {
            let entries = std::fs::read_dir(below(Path::new(path))).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let top = entries("/");
        for hidden in ["home", "root", "proc", "sys", "tmp", "var", "boot", "mnt", "srv"] {
            assert!(!top.contains(hidden), "{hidden} is in {top:?}");
        }
        assert!(!below(&secret).exists() && secret.exists());
        assert!(entries("/etc").is_subset(&["ld.so.cache".to_owned()].into()), "{:?}", entries("/etc"));
        assert_eq!(entries("/dev"), ["null", "urandom"].map(str::to_owned).into());
        assert_eq!(entries("/hosts"), ["a".to_owned()].into());
        // Its mounts: nothing is writable but its own directory.
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        for mount in mounts.lines() {
            let fields: Vec<_> = mount.split(' ').collect();
            let (place, options) = (fields[4], fields[5]);
            let writable = place == "/run" || place.starts_with("/dev/");
            assert!(writable || options.split(',').any(|option| option == "ro"), "{mount}");
        }
    });
}

/// Runs `body`, of the test function `name`, as the host's root, in namespaces but for users, with what the keeper's unit
/// leaves it (modules/network/units.nix): no power over other users' files and processes. An ordinary user has no such thing.
fn as_root(name: &str, body: impl FnOnce()) {
    const INSIDE: &str = "MVM_TEST_AS_ROOT";
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if !nix::unistd::geteuid().is_root() {
        println!("note: {name} needs root, and was not run");
        return;
    }
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["setpriv", "--bounding-set", "-chown,-dac_override,-dac_read_search,-fowner,-kill"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} as root: {status}");
}

#[test]
fn run_by_root_it_becomes_a_user_of_the_system() {
    as_root("dns::confined::run_by_root_it_becomes_a_user_of_the_system", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let users = ["dnsmasq", "nobody"].map(|name| User::from_name(name).unwrap());
        let user = users.into_iter().flatten().next().expect("a user `dnsmasq` or `nobody`");
        assert!(!user.uid.is_root());
        let plan = plan(dir.path(), servers(&[]));
        let dnsmasq = start(&realm, &plan);
        let pid = dnsmasq.pid().unwrap();
        for (field, id) in [("Uid", user.uid.as_raw()), ("Gid", user.gid.as_raw())] {
            assert_eq!(status(pid, field), vec![id.to_string(); 4].join(" "));
        }
        assert_eq!(status(pid, "Groups"), "");
        assert_capabilities(pid, 1 << 10 | 1 << 12);
        // It can do its work: read names, and keep leases over a restart.
        add(&realm, &dnsmasq, host("a", 10));
        let guest = guest(&realm, Some("192.168.100.10"));
        assert_eq!(addresses(&guest, "a.mvm"), [Ipv4Addr::new(192, 168, 100, 10)]);
        super::dhcp::Client::new(&guest).lease(host("a", 10).mac);
        // It can be told (SIGHUP), and ended: the next one finds the ports free.
        remove(&realm, &dnsmasq, "b");
        drop(dnsmasq);
        let leases = dir.path().join("dns/run/leases");
        let before = std::fs::read_to_string(&leases).unwrap();
        assert!(before.contains(" 192.168.100.10 "), "{before:?}");
        let again = start(&realm, &plan);
        assert_eq!(addresses(&guest, "a.mvm"), [Ipv4Addr::new(192, 168, 100, 10)]);
        assert_eq!(std::fs::read_to_string(&leases).unwrap(), before);
        // What it reads is root's: it can't write there even without the view.
        for file in ["dns", "dns/conf", "dns/conf/hosts", "dns/conf/dnsmasq.conf"] {
            let metadata = std::fs::metadata(dir.path().join(file)).unwrap();
            assert_eq!((metadata.uid(), metadata.mode() & 0o022), (0, 0), "{file}");
        }
        assert!(again.pid().is_some());
    });
}

#[test]
fn bridges_have_instances_of_their_own() {
    in_namespaces("dns::confined::bridges_have_instances_of_their_own", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        realm.shell("ip link add br-b type bridge; ip address add 10.7.0.1/24 dev br-b; ip link set br-b up");
        let first = plan(dir.path(), servers(&[]));
        let second = DnsmasqPlan {
            bridge: "br-b".into(),
            address: "10.7.0.1/24".parse().unwrap(),
            dir: dir.path().join("dns-b"),
            ..first.clone()
        };
        let (first, second) = (start(&realm, &first), start(&realm, &second));
        add(&realm, &first, host("a", 10));
        let mut b = host("b", 0);
        b.address = [10, 7, 0, 2].into();
        add(&realm, &second, b.clone());
        let guest = guest(&realm, Some("192.168.100.10"));
        assert_eq!(addresses(&guest, "a.mvm"), [Ipv4Addr::new(192, 168, 100, 10)]);
        assert_eq!(addresses(&guest, "b.mvm"), Vec::<Ipv4Addr>::new());
        // Each hears DHCP on its own bridge only.
        let client = super::dhcp::Client::new(&guest);
        client.send(b.mac, super::dhcp::DISCOVER, &[]);
        assert_eq!(client.lease(host("a", 10).mac).address, Ipv4Addr::new(192, 168, 100, 10));
        let leases = |dir_name: &str| {
            std::fs::read_to_string(dir.path().join(dir_name).join("run/leases")).unwrap_or_default()
        };
        assert_eq!((leases("dns").lines().count(), leases("dns-b").lines().count()), (1, 0));
        // One goes, the other stays.
        drop(second);
        assert_eq!(addresses(&guest, "a.mvm"), [Ipv4Addr::new(192, 168, 100, 10)]);
    });
}

#[test]
fn what_keeps_it_from_starting_is_said() {
    in_namespaces("dns::confined::what_keeps_it_from_starting_is_said", || {
        let (realm, dir) = (realm(), tempfile::tempdir().unwrap());
        let plan = plan(dir.path(), servers(&[]));
        let fails = |plan: &DnsmasqPlan| {
            let plan = plan.clone();
            realm.run(async move { Dnsmasq::start(&plan, &launcher()).await }).unwrap_err().to_string()
        };
        let taken = realm.call(|| UdpSocket::bind("0.0.0.0:53").unwrap());
        let error = fails(&plan);
        assert!(error.starts_with("no DNS and DHCP on the bridge virbr-mvm: `dnsmasq` ended"), "{error}");
        assert!(error.contains("another name or DHCP server listens on that address"), "{error}");
        drop(taken);
        let error = fails(&DnsmasqPlan { bridge: "nowhere".into(), ..plan.clone() });
        assert!(error.contains("unknown interface nowhere"), "{error}");
        let error = fails(&DnsmasqPlan { bridge: "a b".into(), ..plan.clone() });
        assert!(error.contains("the bridge has the name \"a b\""), "{error}");
        // And nothing is left that keeps the next from starting.
        let dnsmasq = start(&realm, &plan);
        assert!(dnsmasq.pid().is_some());
        realm.shell(&format!("ip link show {BRIDGE}"));
    });
}
