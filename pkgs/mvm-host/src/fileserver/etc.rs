//! The guest's `/etc`: an allow-list of the host's, never a deny-list.
//!
//! Allowed is what programs of `/usr` need to work as on the host (the dynamic linker's cache, alternatives, TLS
//! roots, time zone, protocol numbers, shells' start-up files of the distribution); everything that identifies the
//! host, its users or its secrets is left out by not being named. The guest writes its own identity files.

use crate::{Error, Result};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What may be copied, relative to `/etc`: files, links and whole directories.
pub const ALLOWED: &[&str] = &[
    "alternatives",
    "bash.bashrc",
    "bash_completion.d",
    "ca-certificates.conf",
    "debian_version",
    "default/locale",
    "environment.d",
    "fish/config.fish",
    "fonts",
    "gai.conf",
    "gitattributes",
    "host.conf",
    "inputrc",
    "issue",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "magic.mime",
    "mailcap",
    "mime.types",
    "nanorc",
    "netconfig",
    "nsswitch.conf",
    "os-release",
    "perl",
    "php",
    "pki/ca-trust/extracted",
    "pki/java",
    "pki/tls",
    "profile",
    "profile.d",
    "profiles",
    "protocols",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "redhat-release",
    "rpc",
    "services",
    "shells",
    "skel",
    "ssl/certs",
    "ssl/openssl.cnf",
    "static",
    "system-release",
    "terminfo",
    "timezone",
    "vim",
    "xattr.conf",
    "zsh",
];
/// Names that are never copied, wherever in an allowed directory they stand: private keys live beside certificates.
const NEVER: &[&str] =
    &["private", "shadow", "shadow-", "gshadow", "gshadow-", "sudoers", "sudoers.d", "machine-id"];
/// Endings that are never copied.
const NEVER_ENDINGS: &[&str] = &[".key", ".p12", ".pfx", ".jks", ".keytab"];
/// Most bytes and entries that are copied; a host with more has something else in these places.
const MAX_BYTES: u64 = 32 << 20;
const MAX_ENTRIES: usize = 20_000;

/// What to copy: a plan.
#[derive(Debug, Default)]
pub struct Etc {
    entries: Vec<(PathBuf, Entry)>,
}

#[derive(Debug)]
enum Entry {
    Dir,
    Link(PathBuf),
    File { mode: u32, bytes: Vec<u8> },
}

impl Etc {
    /// Reads what is allowed of `etc`. What this user can't read, nobody is meant to: it is left out.
    pub fn read(etc: &Path) -> Result<Self> {
        let mut plan = Self::default();
        let mut bytes = 0;
        for allowed in ALLOWED {
            let allowed = Path::new(allowed);
            if std::fs::symlink_metadata(etc.join(allowed)).is_err() {
                continue;
            }
            for parent in allowed.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                if !plan.entries.iter().any(|(path, _)| path == parent) {
                    plan.entries.push((parent.to_owned(), Entry::Dir));
                }
            }
            plan.add(etc, allowed, &mut bytes)?;
        }
        Ok(plan)
    }

    fn add(&mut self, etc: &Path, path: &Path, bytes: &mut u64) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if NEVER.contains(&&*name) || NEVER_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            return Ok(());
        }
        let source = etc.join(path);
        let Ok(meta) = std::fs::symlink_metadata(&source) else { return Ok(()) };
        let entry = if meta.is_symlink() {
            let Ok(target) = std::fs::read_link(&source) else { return Ok(()) };
            Entry::Link(target)
        } else if meta.is_dir() {
            let Ok(children) = std::fs::read_dir(&source) else { return Ok(()) };
            self.entries.push((path.to_owned(), Entry::Dir));
            let mut names: Vec<_> = children.filter_map(|child| Some(child.ok()?.file_name())).collect();
            names.sort();
            for name in names {
                self.add(etc, &path.join(name), bytes)?;
            }
            return Ok(());
        } else if meta.is_file() {
            // Only what everybody on the host may read: the keeper may be root's.
            if meta.mode() & 0o004 == 0 {
                return Ok(());
            }
            let Ok(content) = std::fs::read(&source) else { return Ok(()) };
            *bytes += content.len() as u64;
            Entry::File { mode: meta.mode() & 0o755, bytes: content }
        } else {
            return Ok(());
        };
        self.entries.push((path.to_owned(), entry));
        if *bytes > MAX_BYTES || self.entries.len() > MAX_ENTRIES {
            return Err(Error::Failed(format!(
                "what the guest's /etc is made of is larger than {} MiB or {MAX_ENTRIES} files; is something else in {}?",
                MAX_BYTES >> 20,
                source.display()
            )));
        }
        Ok(())
    }

    /// Writes it into the empty directory `to`.
    pub fn write(&self, to: &Path) -> Result<()> {
        for (path, entry) in &self.entries {
            let place = to.join(path);
            match entry {
                Entry::Dir => std::fs::DirBuilder::new().recursive(true).mode(0o755).create(&place),
                Entry::Link(target) => std::os::unix::fs::symlink(target, &place),
                Entry::File { mode, bytes } => std::fs::write(&place, bytes)
                    .and_then(|()| std::fs::set_permissions(&place, std::fs::Permissions::from_mode(*mode))),
            }
            .map_err(Error::io("write the guest's", &place))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_and_public_is_copied() {
        let etc = tempfile::tempdir().unwrap();
        let write = |path: &str, mode: u32| {
            let path = etc.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "content").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for public in
            ["services", "ssl/certs/ca-certificates.crt", "profile.d/a.sh", "shadow", "machine-id", "passwd"]
        {
            write(public, 0o644);
        }
        write("ssl/certs/host.key", 0o644);
        write("ssl/certs/private/x.pem", 0o644);
        write("profile.d/secret.sh", 0o600);
        write("alternatives/readme", 0o644);
        std::os::unix::fs::symlink("/usr/bin/vim.tiny", etc.path().join("alternatives/vi")).unwrap();

        let guest = tempfile::tempdir().unwrap();
        Etc::read(etc.path()).unwrap().write(guest.path()).unwrap();
        for present in ["services", "ssl/certs/ca-certificates.crt", "profile.d/a.sh", "alternatives/readme"]
        {
            assert!(guest.path().join(present).exists(), "{present}");
        }
        assert_eq!(
            std::fs::read_link(guest.path().join("alternatives/vi")).unwrap(),
            Path::new("/usr/bin/vim.tiny")
        );
        for absent in [
            "shadow",
            "machine-id",
            "passwd",
            "ssl/certs/host.key",
            "ssl/certs/private",
            "profile.d/secret.sh",
        ] {
            assert!(!guest.path().join(absent).exists(), "{absent}");
        }
    }
}
