//! VMs made from a template: that they are, that they are none of each other's twins, and that a boot takes over where a
//! template can't be used.

use crate::harness::{As, Realm, wait_for};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What `mvm -v run -- true` says, with `extra` arguments.
fn said(realm: &Realm, extra: &[&str]) -> String {
    let output = realm.output(["-v", "run"].iter().chain(extra).chain(&["--", "true"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// The directories of the templates there are.
fn templates(realm: &Realm) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(realm.path("cache/templates")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

#[test]
fn the_first_start_makes_a_template_and_the_next_ones_wake_from_it() {
    for who in [As::Caller, As::Ordinary] {
        let realm = Realm::of(who);
        let first = said(&realm, &[]);
        assert!(first.contains("preparing a template") && first.contains("waking"), "{first}");
        let second = said(&realm, &[]);
        assert!(!second.contains("preparing a template") && second.contains("waking"), "{second}");
        assert!(!second.contains("booting"), "{second}");
        let cold = said(&realm, &["--cold"]);
        assert!(cold.contains("booting") && !cold.contains("waking"), "{cold}");

        // Other machines, other templates.
        assert!(said(&realm, &["--mem", "300M"]).contains("preparing a template"));
        let listed: serde_json::Value = serde_json::from_str(&realm.ok(["cache", "--json"])).unwrap();
        let mut sizes: Vec<_> =
            listed.as_array().unwrap().iter().map(|entry| entry["memMib"].as_u64().unwrap()).collect();
        sizes.sort_unstable();
        assert_eq!((sizes.len(), sizes[0]), (2, 300), "{listed}");
        realm.ok(["cache", "prune", "--all"]);
        assert_eq!(realm.ok(["cache", "--json"]).trim(), "[]");
        assert!(said(&realm, &[]).contains("preparing a template"));
    }
}

#[test]
fn a_template_holds_nothing_of_the_vm_it_was_made_for() {
    let realm = Realm::new();
    realm.write("file", "PROJECT-MARKER-48151623\n");
    realm.ok(["create", "vm-marker-42", "--env", "SECRET=env-marker-108", "--start"]);
    realm.sh("vm-marker-42", "cat file");
    let key = std::fs::read_to_string(realm.path("state/vm-marker-42/ssh/host_key")).unwrap();
    let key = key.lines().nth(2).unwrap().to_owned();
    let project = realm.project().to_string_lossy().into_owned();
    let all = templates(&realm);
    assert_eq!(all.len(), 1);
    for file in ["memory", "state", "about.json"] {
        let content = std::fs::read(all[0].join(file)).unwrap();
        for marker in ["PROJECT-MARKER-48151623", "vm-marker-42", "env-marker-108", &key, &project] {
            let found = content.windows(marker.len()).any(|window| window == marker.as_bytes());
            assert!(!found, "{marker} is in the template's {file}");
        }
    }
    // The search finds what is there: the guest's own program.
    let memory = std::fs::read(all[0].join("memory")).unwrap();
    assert!(memory.windows(15).any(|window| window == b"mvm-guest waits"));
}

/// Prints what a VM's network interface is: whether it is up, its largest packet, whether it leaves checksums and
/// the cutting of TCP streams to the host (virtio 1.2, 5.1.3: bits 0 and 11), whether it has no IPv6,
/// its addresses and routes.
const INTERFACE: &str = r#"
cd /sys/class/net/eth0
flags=$(cat flags); echo up $((flags & 1)) carrier $(cat carrier)
echo mtu $(cat mtu)
cut -c 1,12 device/features
cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6
ip -4 -o address show dev eth0 | sed 's,10\.[0-9.]*/,ADDRESS/,; s/192\.168\.100\.1[0-9]*/ADDRESS/'
ip -4 route show default
"#;

#[test]
fn a_vm_of_a_template_has_the_network_that_a_booted_one_has() {
    let realm = Realm::new();
    realm.ok(["create", "woken", "--start"]);
    realm.ok(["create", "booted"]);
    realm.ok(["start", "--cold", "booted"]);
    let [woken, booted] = ["woken", "booted"].map(|name| realm.sh(name, INTERFACE));
    assert_eq!(woken, booted);
    assert!(woken.contains("up 1 carrier 1") && woken.contains("\n11\n"), "{woken}");
    for name in ["woken", "booted"] {
        let spec = std::fs::read_to_string(realm.path(&format!("state/{name}/spec.json"))).unwrap();
        let spec: serde_json::Value = serde_json::from_str(&spec).unwrap();
        let mac = realm.sh(name, "cat /sys/class/net/eth0/address");
        assert_eq!(spec["network"]["mac"], mac.trim(), "{spec}");
    }
    // The gateway answers whoever has the address that it knows: its MAC address is known after that.
    let probe = "python3 -c \"import socket; s = socket.socket(); s.settimeout(5); s.connect_ex(('192.168.100.1', 22))\"
                 grep -q '^192.168.100.1 .* 0x2 ' /proc/net/arp";
    realm.sh("woken", probe);
    // Nothing was said in the template's name: a second after its start QEMU is through with announcing a machine.
    for name in ["woken", "booted"] {
        let status = realm.status(name);
        assert_eq!(status["denied"]["spoofed"]["packets"], 0, "{status}");
    }

    // Other devices, another template.
    let alone = said(&realm, &["--no-network"]);
    assert!(alone.contains("preparing a template") && alone.contains("waking"), "{alone}");
}

/// Prints what must differ from VM to VM, one a line.
const IDENTITY: &str = r#"
echo urandom $(head -c 4096 /dev/urandom | sha256sum)
echo uuid $(cat /proc/sys/kernel/random/uuid)
echo boot-id $(cat /proc/sys/kernel/random/boot_id)
echo machine-id $(cat /etc/machine-id)
echo hostname $(hostname)
echo mac $(cat $(ls -d /sys/class/net/* | grep -v /lo)/address)
"#;

/// Prints the initial sequence numbers of four connections.
const SEQUENCE: &str = r#"
import socket, struct
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
packets.bind(("lo", 0))
numbers = {}
for port in range(40001, 40005):
    client = socket.socket()
    client.bind(("127.0.0.1", port))
    client.connect_ex(("127.0.0.1", 9))
while len(numbers) < 4:
    packet = packets.recv(2048)
    source, target, number = struct.unpack("!HHI", packet[34:42])
    if target == 9 and packet[47] == 2:
        numbers[source] = number
print(" ".join(str(numbers[port]) for port in sorted(numbers)))
"#;

#[test]
fn vms_of_one_template_share_no_randomness_no_key_and_no_id() {
    const VMS: usize = 20;
    /// Python takes an emulated guest seconds.
    const CONNECTING: usize = 4;
    let realm = Realm::new();
    realm.ok(["create", "twin", "--copies", &VMS.to_string(), "--mem", "256M", "--start"]);
    assert_eq!(templates(&realm).len(), 1);
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut sequences: Vec<Vec<u32>> = Vec::new();
    for number in 1..=VMS {
        let name = format!("twin-{number}");
        assert_eq!(realm.status(&name)["warm"], true, "{name}");
        for line in realm.sh(&name, IDENTITY).lines() {
            let (what, value) = line.split_once(' ').unwrap();
            seen.entry(what.to_owned()).or_default().insert(value.to_owned());
        }
        if number <= CONNECTING {
            let printed = realm.ok(["exec", "--root", &name, "--", "python3", "-c", SEQUENCE]);
            sequences.push(printed.split_ascii_whitespace().map(|number| number.parse().unwrap()).collect());
        }
        let key = std::fs::read_to_string(realm.path(&format!("state/{name}/ssh/host_key.pub"))).unwrap();
        seen.entry("ssh host key".to_owned()).or_default().insert(key);
    }
    assert_eq!(seen.len(), 7, "{:?}", seen.keys());
    for (what, values) in &seen {
        assert_eq!(values.len(), VMS, "some VMs share their {what}: {values:?}");
    }
    // A number is a secret hash of the addresses plus a clock of 64 ns (net/core/secure_seq.c): with one secret, all four
    // would differ by the clocks alone from those of another VM, by less than 2^24 within a second.
    assert_eq!(sequences.len(), CONNECTING);
    for (at, one) in sequences.iter().enumerate() {
        for other in &sequences[..at] {
            let apart: Vec<u32> =
                one.iter().zip(other).map(|(one, other)| one.wrapping_sub(*other)).collect();
            let close =
                apart.iter().all(|gap| gap.wrapping_sub(apart[0]).cast_signed().unsigned_abs() < 1 << 24);
            assert!(!close, "{one:?} and {other:?} come of one secret");
        }
    }
}

#[test]
fn a_booted_vm_and_one_from_a_template_look_alike() {
    // /proc has a link for each process, and the kernel's own come and go.
    const LOOK: &str = "
        sed 's/ 0 0$//; s/,size=[0-9]*k//; s/,nr_inodes=[0-9]*//' /proc/mounts | sort
        ls -l / /dev/fd /dev/std* | sed 's/ [A-Z][a-z][a-z] *[0-9]* [0-9:]* / /; / proc$/s/ [0-9]* / /'
        stat -c '%n %a %u %g' /run /run/* /run/user/* /tmp /var/tmp /dev/shm /dev/pts /etc /home/*
        ls -A /etc; grep -c . /etc/passwd
        ls /sys/class/net; cat /sys/class/net/*/mtu /proc/sys/net/ipv6/conf/*/disable_ipv6
        awk '$2 != \"00000000\"' /proc/net/route | cut -f 1,2,8
        id; ulimit -a; umask; pwd; grep -h ^Mems_allowed_list: /proc/self/status
        test -w /project; test ! -e /modules; test ! -e /software
        until [ \"$(nproc)\" = 2 ]; do sleep 0.05; done; echo two processors";
    let realm = Realm::new();
    realm.write("file", "");
    realm.ok(["create", "box", "--vcpu", "2", "--persist"]);
    let look = |start: &[&str]| {
        realm.ok(start.iter().chain(&["box"]));
        let look = realm.sh("box", LOOK);
        realm.ok(["stop", "--yes", "box"]);
        look
    };
    let warm = look(&["start"]);
    let cold = look(&["start", "--cold"]);
    assert!(warm.lines().count() > 30 && warm.contains("two processors"), "{warm}");
    assert_eq!(warm, cold);
}

#[test]
fn a_guests_clock_is_its_hosts() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i128;
    let realm = Realm::new();
    realm.ok(["create", "warm", "--start"]);
    realm.ok(["create", "cold", "--start", "--cold"]);
    for name in ["warm", "cold"] {
        // The guest's clock was read at some time between two of ours: each reading narrows down by how much it is off.
        let (mut least, mut most) = (i128::MIN, i128::MAX);
        for _ in 0..10 {
            let before = now();
            let guest: i128 = realm.ok(["exec", name, "--", "date", "+%s%N"]).trim().parse().unwrap();
            let after = now();
            (least, most) = (least.max(guest - after), most.min(guest - before));
        }
        let tolerance = 50_000_000;
        assert!(least <= tolerance && most >= -tolerance, "{name} is off by {least} to {most} ns");
    }
}

#[test]
fn a_damaged_template_is_replaced() {
    let realm = Realm::new();
    said(&realm, &[]);
    let memory = templates(&realm)[0].join("memory");
    std::fs::File::options().write(true).open(&memory).unwrap().write_all_at(b"damage", 1 << 20).unwrap();
    let second = said(&realm, &[]);
    assert!(second.contains("booted, not made from a template") && second.contains("checksum"), "{second}");
    let third = said(&realm, &[]);
    assert!(third.contains("preparing a template") && third.contains("waking"), "{third}");
}

#[test]
fn a_vmm_that_restores_nothing_boots_and_is_not_asked_again() {
    let realm = Realm::new();
    let qemu = realm.path("qemu");
    let script = "#!/bin/sh\ncase \"$*\" in *-incoming*) echo 'no such thing' >&2; exit 1 ;; esac\n\
                  exec /usr/bin/qemu-system-x86_64 \"$@\"\n";
    std::fs::write(&qemu, script).unwrap();
    std::fs::set_permissions(&qemu, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = || {
        let output = realm.mvm(["-v", "run", "--", "true"]).env("MVM_QEMU", &qemu).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let first = run();
    assert!(first.contains("booted, not made from a template") && first.contains("no such thing"), "{first}");
    wait_for("the keeper to end", || realm.processes().is_empty().then_some(()));
    let second = run();
    assert!(!second.contains("waking") && second.contains("no such thing"), "{second}");
    let doctor = realm.mvm(["doctor"]).output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.contains("no template could be used"), "{doctor}");
}

#[test]
fn a_vm_shows_what_memory_it_holds() {
    let realm = Realm::new();
    realm.ok(["create", "box", "--mem", "512M", "--start"]);
    let memory = &realm.status("box")["memory"];
    let bytes = |field: &str| memory[field].as_u64().unwrap_or_else(|| panic!("no {field} in {memory}"));
    assert!(bytes("guestBytes") > 20 << 20 && bytes("guestBytes") < 512 << 20, "{memory}");
    assert!(bytes("privateBytes") > bytes("guestBytes"), "{memory}");
    assert!(bytes("sharedBytes") > 1 << 20, "{memory}");
    assert!(realm.ok(["status", "box"]).contains("from a template"));
}
