//! The host realm, on a real systemd: a container that shares this machine's programs and nothing else.

use crate::harness::{Realm, kernel, mvm};
use std::path::Path;
use std::process::{Command, Stdio};

/// Boots the container, runs the script there, powers off.
const UNIT: &str = "
[Unit]
Requires=basic.target
Wants=dbus.socket
After=basic.target dbus.socket
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/bin/sh /mnt/test/script
StandardOutput=file:/mnt/test/output
StandardError=file:/mnt/test/errors
";

/// Each `ask` is one of the questions below.
const SCRIPT: &str = r#"
export MVM_REALM=host MVM_CACHE_DIR=/mnt/test/cache MVM_KERNEL=/mnt/test/kernel/KERNEL PATH=/mnt/test/bin:$PATH
ask() { echo "== $1"; shift; "$@" 2>&1 || echo "(exit code $?)"; }
mkdir /run/project && cd /run/project && echo original > file && chown -R 4321:4321 .
ip link set lo up
ask create mvm create box --start
ask unit systemctl show mvm-box.scope -p ActiveState,MemoryMax,TasksMax,CPUQuotaPerSecUSec
ask keeper systemctl show 'mvm-keeper-*.scope' -p ActiveState
ask exec mvm exec box -- sh -c 'id -u; echo changed > file; cat file; ls -n file | cut -d" " -f3'
ask file cat file
pids=$(mvm status box --json | tr ',{' '\n\n' | sed -n 's/.*"\(vmm\|fs\)Pid": *\([0-9]*\).*/\2/p')
ask owners sh -c "for pid in $(echo $pids); do grep ^Uid: /proc/\$pid/status | cut -f2; done"
ask rules nft list tables
ask bridge ip -brief address show dev virbr-mvm
ask where ls /var/lib/microvm-dev
ask stop mvm stop --yes box
ask quiet timeout 60 sh -c "while systemctl --quiet is-active mvm-box.scope 'mvm-keeper-*.scope'; do sleep 0.05; done"
ask left-units systemctl list-units --no-legend 'mvm-*.scope'
ask down timeout 60 sh -c 'while [ -e /sys/class/net/virbr-mvm ]; do sleep 0.05; done'
ask left-links ls /sys/class/net
ask left-rules nft list ruleset
ask delete mvm delete box
ask left-files ls /var/lib/microvm-dev
"#;

#[test]
fn on_a_systemd_host_vms_are_units_of_the_system_and_nothing_runs_as_root() {
    if !Realm::root() {
        println!("not here: the host realm is root's; run the tests as root, too");
        return;
    }
    let realm = Realm::new();
    let test = realm.path("test");
    let kernel = kernel();
    for dir in ["test", "test/cache", "test/root"] {
        std::fs::create_dir(realm.path(dir)).unwrap();
    }
    let name = kernel.file_name().unwrap().to_str().unwrap();
    std::fs::write(test.join("script"), SCRIPT.replace("kernel/KERNEL", &format!("kernel/boot/{name}")))
        .unwrap();
    std::fs::write(test.join("mvm-test.service"), UNIT).unwrap();
    let log = std::fs::File::create(test.join("console")).unwrap();
    // In a mount namespace of its own: a mount of `/` alone, without what is mounted below, is the container's root.
    let boot = format!(
        "mount --bind / {root} && exec systemd-nspawn --quiet --directory={root} --volatile=overlay --keep-unit \
         --register=no --private-network --tmpfs=/var/lib/microvm-dev:mode=0700 --capability=CAP_NET_ADMIN,CAP_SYS_ADMIN --bind=/dev/net/tun \
         --bind={test}:/mnt/test --bind-ro={kernel}:/mnt/test/kernel --bind-ro={bin}:/mnt/test/bin \
         --bind-ro={test}/mvm-test.service:/etc/systemd/system/mvm-test.service \
         --boot systemd.unit=mvm-test.service quiet",
        root = test.join("root").display(),
        test = test.display(),
        kernel = kernel.parent().unwrap().parent().unwrap().display(),
        bin = Path::new(mvm()).parent().unwrap().display(),
    );
    for dir in ["kernel", "bin"] {
        std::fs::create_dir(test.join(dir)).unwrap();
    }
    let status = Command::new("unshare")
        .args(["--mount", "--", "sh", "-c", &boot])
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    let read = |file: &str| std::fs::read_to_string(test.join(file)).unwrap_or_default();
    let output = read("output");
    let all = format!("{status}\n{output}\n{}\n{}", read("errors"), read("console"));
    let answer = |question: &str| {
        let (_, rest) =
            output.split_once(&format!("== {question}\n")).unwrap_or_else(|| panic!("{question}: {all}"));
        rest.split_once("== ").map_or(rest, |(answer, _)| answer).to_owned()
    };
    for fact in ["ActiveState=active", "MemoryMax=1610612736", "TasksMax=512", "CPUQuotaPerSecUSec=3s"] {
        assert!(answer("unit").contains(fact), "{all}");
    }
    assert!(answer("keeper").contains("ActiveState=active"), "{all}");
    assert_eq!(answer("exec"), "4321\nchanged\n4321\n", "{all}");
    assert_eq!(answer("file"), "original\n");
    assert_eq!(answer("owners"), "4321\n4321\n", "VMM and file server are the project's owner: {all}");
    assert!(answer("rules").contains("table inet microvm-dev"), "{all}");
    assert!(answer("bridge").contains("192.168.100.1/24"), "{all}");
    assert_eq!(answer("where"), "box\n");
    assert_eq!(answer("left-units"), "", "{all}");
    assert_eq!(answer("left-links"), "lo\n", "{all}");
    assert_eq!(answer("left-rules"), "", "{all}");
    assert_eq!(answer("left-files"), "", "{all}");
}
