//! Who the guest is: the files of `/etc` that differ from guest to guest, and the user's directories.

use crate::mounts::make_dir;
use anyhow::Context;
use mvm_spec::control::{GuestConfig, GuestNetwork};
use mvm_spec::v1::User;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// System accounts: name, user and group id, home. Those of base-passwd that programs and maintainers' scripts name.
const SYSTEM_USERS: [(&str, u32, &str); 10] = [
    ("daemon", 1, "/usr/sbin"),
    ("bin", 2, "/bin"),
    ("sys", 3, "/dev"),
    ("games", 5, "/usr/games"),
    ("man", 6, "/var/cache/man"),
    ("lp", 7, "/var/spool/lpd"),
    ("mail", 8, "/var/mail"),
    ("www-data", 33, "/var/www"),
    ("backup", 34, "/var/backups"),
    ("nobody", 65534, "/nonexistent"),
];
/// System groups, in base-passwd's numbers.
const SYSTEM_GROUPS: [(&str, u32); 24] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("mail", 8),
    ("man", 12),
    ("kmem", 15),
    ("dialout", 20),
    ("sudo", 27),
    ("audio", 29),
    ("www-data", 33),
    ("backup", 34),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("plugdev", 46),
    ("staff", 50),
    ("games", 60),
    ("users", 100),
    ("nogroup", 65534),
];

/// The user's home directory. Below `/home` whatever the uid, so that a home disk keeps it.
pub fn home(user: &User) -> PathBuf {
    Path::new("/home").join(&user.name)
}

/// `/etc/passwd` (passwd(5)). A user with uid 0 is root under a second name, with one home for both.
pub fn passwd(user: &User, shell: &str) -> String {
    let home = home(user);
    let home = home.display();
    let mut text = String::new();
    let root_home = if user.uid == 0 { home.to_string() } else { "/root".to_owned() };
    let root_group = if user.uid == 0 { user.gid } else { 0 };
    let _ = writeln!(text, "root:x:0:{root_group}:root:{root_home}:{shell}");
    for (name, id, home) in SYSTEM_USERS {
        if name != user.name && id != user.uid {
            let _ = writeln!(text, "{name}:x:{id}:{id}:{name}:{home}:/usr/sbin/nologin");
        }
    }
    if user.name != "root" {
        let _ = writeln!(text, "{}:x:{}:{}:{}:{home}:{shell}", user.name, user.uid, user.gid, user.name);
    }
    text
}

/// `/etc/group` (group(5)).
pub fn group(user: &User) -> String {
    let mut text = String::new();
    for (name, id) in SYSTEM_GROUPS {
        if name != user.name || id == user.gid {
            let _ = writeln!(text, "{name}:x:{id}:");
        }
    }
    if SYSTEM_GROUPS.iter().all(|(_, id)| *id != user.gid) {
        let _ = writeln!(text, "{}:x:{}:", user.name, user.gid);
    }
    text
}

/// `/etc/hosts` (hosts(5)).
pub fn hosts(hostname: &str, network: Option<&GuestNetwork>) -> String {
    // Without a network the name still resolves: programs look their own host up (Debian policy: 127.0.1.1).
    let address = network.map_or("127.0.1.1".to_owned(), |network| network.address.address.to_string());
    let names = match network.and_then(|network| network.domain.as_deref()) {
        Some(domain) => format!("{hostname}.{domain} {hostname}"),
        None => hostname.to_owned(),
    };
    format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{address} {names}\n")
}

/// `/etc/resolv.conf` (resolv.conf(5)).
pub fn resolv_conf(network: &GuestNetwork) -> String {
    let mut text = String::new();
    for server in &network.dns {
        let _ = writeln!(text, "nameserver {server}");
    }
    if let Some(domain) = &network.domain {
        let _ = writeln!(text, "search {domain}");
    }
    text
}

/// A script that gives login shells the VM's variables, as `/etc/profile` may have set others (PATH, for one).
pub fn profile(environment: &BTreeMap<String, String>) -> String {
    let mut text = String::from("# Variables of this VM.\n");
    for (name, value) in environment {
        let _ = writeln!(text, "export {name}='{}'", value.replace('\'', r"'\''"));
    }
    text
}

/// The shell of root and the user, in the root tree `software`.
pub fn shell(software: &Path) -> &'static str {
    // Also by way of `usr`: `bin` may be an absolute link, which leads nowhere before the tree is the root.
    let has = |path: &str| software.join(path).exists();
    if has("bin/bash") || has("usr/bin/bash") { "/bin/bash" } else { "/bin/sh" }
}

/// Writes the files of `/etc` below `root`, which has a directory `etc`.
pub fn write_files(root: &Path, config: &GuestConfig, shell: &str) -> anyhow::Result<()> {
    let GuestConfig { hostname, machine_id, network, user, environment, .. } = config;
    let etc = root.join("etc");
    let mut files = vec![
        ("hostname", format!("{hostname}\n")),
        ("machine-id", format!("{machine_id}\n")),
        ("hosts", hosts(hostname, network.as_ref())),
        ("passwd", passwd(user, shell)),
        ("group", group(user)),
    ];
    if let Some(network) = network {
        files.push(("resolv.conf", resolv_conf(network)));
    }
    for (name, text) in files {
        let path = etc.join(name);
        std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    if !environment.is_empty() {
        write_profile(root, environment)?;
    }
    symlink("../proc/self/mounts", etc.join("mtab")).context("can't link /etc/mtab")
}

/// Gives login shells the variables `environment`, below `root`.
pub fn write_profile(root: &Path, environment: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let path = root.join("etc/profile.d/microvm-dev.sh");
    make_dir(&root.join("etc/profile.d").to_string_lossy(), 0o755)?;
    std::fs::write(&path, profile(environment)).with_context(|| format!("can't write {}", path.display()))
}

/// Makes the user's home below `root`, if it is not there, with the files of `skeleton`.
pub fn make_home(root: &Path, user: &User, skeleton: &Path) -> anyhow::Result<()> {
    let home = root.join(home(user).strip_prefix("/")?);
    if !home.exists() {
        make_dir(&home.to_string_lossy(), 0o755)?;
        if skeleton.is_dir() {
            copy_skeleton(skeleton, &home, user)?;
        }
        own(&home, user)?;
    }
    Ok(())
}

/// Makes the directories of XDG_RUNTIME_DIR, the user's and root's.
pub fn make_runtime_dirs(user: &User) -> anyhow::Result<()> {
    make_dir("/run/user", 0o755)?;
    make_dir(&runtime_dir(0), 0o700)?;
    if user.uid != 0 {
        let runtime = runtime_dir(user.uid);
        make_dir(&runtime, 0o700)?;
        own(Path::new(&runtime), user)?;
    }
    Ok(())
}

/// Value of XDG_RUNTIME_DIR (XDG Base Directory Specification).
pub fn runtime_dir(uid: u32) -> String {
    format!("/run/user/{uid}")
}

fn own(path: &Path, user: &User) -> anyhow::Result<()> {
    chown(path, Some(user.uid), Some(user.gid))
        .with_context(|| format!("can't give {} to {}", path.display(), user.name))
}

fn copy_skeleton(from: &Path, to: &Path, user: &User) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(from).with_context(|| format!("can't list {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("can't list {}", from.display()))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().with_context(|| format!("can't examine {}", source.display()))?;
        let copied = if kind.is_dir() {
            make_dir(&target.to_string_lossy(), entry.metadata()?.permissions().mode() & 0o777)?;
            copy_skeleton(&source, &target, user)?;
            Ok(())
        } else if kind.is_symlink() {
            std::fs::read_link(&source).and_then(|link| symlink(link, &target))
        } else {
            copy_file(&source, &target)
        };
        copied.with_context(|| format!("can't copy {} to {}", source.display(), target.display()))?;
        if !kind.is_symlink() {
            own(&target, user)?;
        }
    }
    Ok(())
}

/// Skeletons are small. The kernel's ways of copying, which `std::fs::copy` tries, only take their time to fail between file
/// systems.
fn copy_file(source: &Path, target: &Path) -> std::io::Result<()> {
    let mode = std::fs::metadata(source)?.permissions().mode() & 0o777;
    std::fs::write(target, std::fs::read(source)?)?;
    std::fs::set_permissions(target, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, uid: u32) -> User {
        User { name: name.to_owned(), uid, gid: uid }
    }

    fn network() -> GuestNetwork {
        GuestNetwork {
            mac: "02:00:5e:10:00:01".parse().unwrap(),
            address: "192.168.100.10/24".parse().unwrap(),
            gateway: "192.168.100.1".parse().unwrap(),
            dns: vec!["192.168.100.1".parse().unwrap(), "9.9.9.9".parse().unwrap()],
            domain: Some("mvm".to_owned()),
            mtu: 1500,
        }
    }

    #[test]
    fn an_ordinary_user_stands_beside_root() {
        let text = passwd(&user("dev", 1000), "/bin/bash");
        assert!(text.starts_with("root:x:0:0:root:/root:/bin/bash\n"), "{text}");
        assert!(text.ends_with("dev:x:1000:1000:dev:/home/dev:/bin/bash\n"), "{text}");
        assert!(group(&user("dev", 1000)).ends_with("dev:x:1000:\n"));
    }

    #[test]
    fn a_user_with_uid_0_is_root_under_two_names_with_one_home() {
        let text = passwd(&user("dev", 0), "/bin/sh");
        assert!(text.starts_with("root:x:0:0:root:/home/dev:/bin/sh\n"), "{text}");
        assert!(text.contains("\ndev:x:0:0:dev:/home/dev:/bin/sh\n"), "{text}");
        let text = passwd(&user("root", 0), "/bin/sh");
        assert_eq!(text.matches("root:x:").count(), 1, "{text}");
    }

    #[test]
    fn ids_and_names_stay_unique_when_the_user_has_a_system_account() {
        for user in [user("www-data", 33), user("backup", 1000), user("dev", 65534), user("games", 60)] {
            for text in [passwd(&user, "/bin/sh"), group(&user)] {
                for field in [0, 2] {
                    let mut seen: Vec<_> =
                        text.lines().map(|line| line.split(':').nth(field).unwrap()).collect();
                    let all = seen.len();
                    seen.sort_unstable();
                    seen.dedup();
                    assert_eq!(seen.len(), all, "{user:?}: {text}");
                }
            }
        }
    }

    #[test]
    fn names_resolve_with_and_without_a_network() {
        assert!(hosts("shop", None).ends_with("127.0.1.1 shop\n"));
        assert!(hosts("shop", Some(&network())).ends_with("192.168.100.10 shop.mvm shop\n"));
        assert_eq!(resolv_conf(&network()), "nameserver 192.168.100.1\nnameserver 9.9.9.9\nsearch mvm\n");
    }

    #[test]
    fn values_reach_a_shell_unchanged() {
        let value = "it's $HOME \"and\" `more`\nlines\\";
        let text = profile(&BTreeMap::from([("V".to_owned(), value.to_owned())]));
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("{text}printf %s \"$V\"")])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }

    fn me() -> User {
        User {
            name: "me".to_owned(),
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
        }
    }

    #[test]
    fn the_files_are_written_below_the_given_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let config = GuestConfig {
            hostname: "shop".to_owned(),
            machine_id: "0".repeat(32),
            time_unix_ns: 0,
            held_ns: 0,
            plugged: false,
            entropy: String::new(),
            shares: mvm_spec::control::Shares { software: String::new(), project: None },
            file_quota: 0,
            home_disk: false,
            network: Some(network()),
            user: user("dev", 1000),
            ssh: mvm_spec::control::GuestSsh { host_key: String::new(), authorized_keys: Vec::new() },
            environment: BTreeMap::from([("A".to_owned(), "b".to_owned())]),
            workload: None,
        };
        write_files(root.path(), &config, "/bin/sh").unwrap();
        let read = |name: &str| std::fs::read_to_string(root.path().join("etc").join(name)).unwrap();
        assert_eq!(read("hostname"), "shop\n");
        assert_eq!(read("machine-id").len(), 33);
        assert!(read("resolv.conf").starts_with("nameserver"));
        assert!(read("profile.d/microvm-dev.sh").contains("export A='b'"));
        assert_eq!(shell(root.path()), "/bin/sh");
    }

    #[test]
    fn a_home_that_is_there_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let skeleton = tempfile::tempdir().unwrap();
        std::fs::write(skeleton.path().join(".profile"), "x").unwrap();
        make_home(root.path(), &me(), skeleton.path()).unwrap();
        let profile = root.path().join("home/me/.profile");
        assert!(profile.exists());
        std::fs::remove_file(&profile).unwrap();
        make_home(root.path(), &me(), skeleton.path()).unwrap();
        assert!(!profile.exists());
    }

    #[test]
    fn a_skeleton_is_copied_with_links_and_directories() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        std::fs::create_dir(from.path().join("d")).unwrap();
        std::fs::write(from.path().join("d/f"), "x").unwrap();
        symlink("nowhere", from.path().join("l")).unwrap();
        copy_skeleton(from.path(), to.path(), &me()).unwrap();
        assert_eq!(std::fs::read_to_string(to.path().join("d/f")).unwrap(), "x");
        assert_eq!(std::fs::read_link(to.path().join("l")).unwrap(), Path::new("nowhere"));
    }
}
