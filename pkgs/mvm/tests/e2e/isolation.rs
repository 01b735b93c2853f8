//! What a guest, and what a program that a guest took over, can reach of the host.

use crate::harness::{As, Realm, succeeded};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// Removes the files of a test, whatever becomes of it.
struct Planted(Vec<PathBuf>);

impl Drop for Planted {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[test]
fn no_secret_of_the_host_is_reachable_by_path_or_inode() {
    let realm = Realm::of(As::Ordinary);
    let secret = format!("secret-{}-{}", std::process::id(), "d41f00d");
    // Another project beside ours, the user's home, and, as root, the places of the system.
    let mut planted = Planted(Vec::new());
    let mut plant = |path: PathBuf| {
        std::fs::write(&path, &secret).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        planted.0.push(path);
    };
    std::fs::create_dir(realm.path("other-project")).unwrap();
    plant(realm.path("other-project/token"));
    plant(realm.path("home/token"));
    if Realm::root() {
        let name = format!("mvm-e2e-{}", std::process::id());
        for dir in ["/home", "/root", "/var", "/etc", "/opt", "/srv"] {
            plant(PathBuf::from(dir).join(&name));
        }
    }
    // What the walk must find, so that it is known to walk.
    let control = format!("control-{}", std::process::id());
    realm.write("control", &control);
    realm.ok(["create", "box", "--start"]);
    // The whole tree, as root, without the kernel's own file systems.
    let walk = format!(
        "find / \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o -type f -size -64k \\
         -newermt '-1 hour' -print0 | xargs -0 -r grep -l -e {} -e {} 2>/dev/null || true",
        &secret, &control
    );
    let walk = ["exec", "--root", "box", "--", "sh", "-c", walk.as_str()];
    assert_eq!(realm.ok(walk), "/project/control\n", "the walk finds what it may see, and nothing else");
    for absent in ["/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/ssh", "/root/.ssh", "/var/lib/dpkg"] {
        let output = realm.output(["exec", "--root", "box", "--", "test", "!", "-e", absent]);
        assert!(output.status.success(), "{absent} is there");
    }
    // By handle, and by inode number, over both shares.
    realm.write("handles.py", HANDLES);
    realm.ok(["exec", "--root", "box", "--", "python3", "/project/handles.py", &secret]);
    // By `..` and links out of the project.
    realm.ok(["exec", "box", "--", "ln", "-s", "../../../../../../home", "out"]);
    realm.ok([
        "exec",
        "box",
        "--",
        "sh",
        "-c",
        &format!("! grep -rs {secret} out/ /project/../home /project/../var /project/../etc"),
    ]);
}

/// Opens files by guessed handles (open_by_handle_at(2)) of the guest's virtiofs mounts.
const HANDLES: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
secret = sys.argv[1].encode()
def handle_of(path):
    buffer = ctypes.create_string_buffer(8 + 128)
    struct.pack_into("Ii", buffer, 0, 128, 0)
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, path.encode(), buffer, ctypes.byref(mount), 0):
        return None
    size, kind = struct.unpack_from("Ii", buffer)
    return kind, buffer.raw[8:8 + size]
def open_handle(mount, kind, data):
    buffer = ctypes.create_string_buffer(struct.pack("Ii", len(data), kind) + data, 8 + len(data))
    return libc.open_by_handle_at(mount, buffer, os.O_RDONLY)
tried = opened = 0
for path in ["/project"]:
    known = handle_of(path)
    if known is None:
        continue
    kind, data = known
    mount = os.open(path, os.O_RDONLY)
    for node in range(1, 3000):
        # Two words of the node, the upper first, then its generation (Linux, fs/fuse/inode.c, fuse_encode_fh).
        guess = struct.pack("<II", node >> 32, node & 0xFFFFFFFF) + data[8:]
        tried += 1
        fd = open_handle(mount, kind, guess)
        if fd < 0:
            continue
        opened += 1
        link = os.readlink(f"/proc/self/fd/{fd}")
        try:
            assert secret not in os.read(fd, 65536), link
        except IsADirectoryError:
            pass
        os.close(fd)
assert opened > 0, f"{tried} handles tried, none opened: this shows nothing"
"#;

#[test]
fn vmm_and_file_server_have_no_privilege_and_nothing_to_write() {
    for who in [As::Caller, As::Ordinary] {
        let realm = Realm::of(who);
        realm.write("file", "");
        realm.ok(["create", "box", "--start"]);
        let status = realm.status("box");
        for (what, key) in [("VMM", "vmmPid"), ("file server", "fsPid")] {
            let pid = find(&status, key).unwrap_or_else(|| panic!("{key} in {status}"));
            let facts = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let fact = |name: &str| {
                facts
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_else(|| panic!("{name}"))
                    .trim()
                    .to_owned()
            };
            for set in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "CapBnd:"] {
                assert_eq!(u64::from_str_radix(&fact(set), 16).unwrap(), 0, "{what}: {set}");
            }
            assert_eq!(fact("NoNewPrivs:"), "1", "{what}");
            assert_eq!(fact("Seccomp:"), "2", "{what}: a seccomp filter");
            if !Realm::root() {
                continue;
            }
            // In its view, as its user: nothing outside the VM's files can be written, nothing of the host seen.
            let uid = fact("Uid:").split_whitespace().next().unwrap().to_owned();
            let try_to_write = "for path in / /usr /usr/bin /etc /boot /var/tmp /tmp /software /software/usr /layers; do \
                                if [ -d $path ] && touch $path/x 2>/dev/null; then echo $path; fi; done; \
                                ls -d /home/* /root /proc/1 /state 2>/dev/null; true";
            let software = if what == "VMM" { "" } else { "/software" };
            let output = Command::new("nsenter")
                .args(["--target", &pid.to_string(), "--mount", "--net", "--setuid", &uid, "--setgid", &uid])
                .arg(format!("--root=/proc/{pid}/root{software}"))
                .args(["--wd=/", "--", "/bin/sh", "-c", try_to_write])
                .output()
                .unwrap();
            let wrote = succeeded(&["nsenter"], output);
            assert_eq!(wrote, "", "{what} can write or see these");
        }
    }
}

/// The number under `key`, wherever in the object it stands.
fn find(value: &serde_json::Value, key: &str) -> Option<i64> {
    match value {
        serde_json::Value::Object(map) => map
            .get(key)
            .and_then(serde_json::Value::as_i64)
            .or_else(|| map.values().find_map(|value| find(value, key))),
        _ => None,
    }
}

#[test]
fn the_guest_can_not_write_to_the_hosts_software() {
    let realm = Realm::of(As::Caller);
    let marker = format!("/usr/local/mvm-e2e-{}", std::process::id());
    realm.ok(["create", "box", "--start"]);
    realm.ok([
        "exec",
        "--root",
        "box",
        "--",
        "sh",
        "-ec",
        &format!("echo x > {marker}; cat {marker}; rm -rf /usr/games"),
    ]);
    assert!(!std::path::Path::new(&marker).exists(), "the change stays in the guest's throw-away layer");
}

#[test]
fn nothing_listens_on_the_host_and_no_secret_is_in_an_argument() {
    let realm = Realm::of(As::Ordinary);
    let secret = format!("hunter2-{}", std::process::id());
    realm.ok(["create", "box", "--env", &format!("TOKEN={secret}")]);
    realm.ok(["start", "box"]);
    assert_eq!(realm.ok(["exec", "box", "--", "printenv", "TOKEN"]).trim(), secret);
    let key = std::fs::read_to_string(realm.path("state/box/ssh/host_key")).unwrap();
    let key = key.lines().nth(1).unwrap();
    let processes = realm.processes();
    assert!(processes.len() >= 4, "init, keeper, file server, VMM: {processes:?}");
    for pid in &processes {
        for file in ["cmdline", "environ"] {
            let text = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            assert!(!text.contains(&secret) && !text.contains(key), "{file} of {pid}");
        }
    }
    let line = realm.ok(["exec", "box", "--", "cat", "/proc/cmdline"]);
    assert!(!line.contains(&secret), "{line}");
    if Realm::root() {
        // The network namespace that the keeper was started in is this realm's "host", and has nothing else in it.
        let keeper = processes.iter().find(|pid| {
            std::fs::read_link(format!("/proc/{pid}/ns/net")).ok()
                != std::fs::read_link(format!(
                    "/proc/{}/ns/net",
                    find(&realm.status("box"), "vmmPid").unwrap()
                ))
                .ok()
        });
        let keeper = keeper.expect("a process outside the VMM's namespace");
        for file in ["tcp", "tcp6", "udp", "udp6"] {
            let table = std::fs::read_to_string(format!("/proc/{keeper}/net/{file}")).unwrap_or_default();
            // State 0A is LISTEN; UDP sockets have no such state, so that there must be none at all.
            let listening: Vec<_> = table
                .lines()
                .skip(1)
                .filter(|line| file.starts_with("udp") || line.contains(" 0A "))
                .collect();
            assert!(listening.is_empty(), "{file}: {listening:?}");
        }
    }
}
