//! What the host has for a VM: its guest sees the host's `/usr`, `/nix/store`, and nothing else of its software.

use crate::plan::Plan;
use std::path::{Path, PathBuf};

/// The door to the host's files.
pub trait Host {
    /// Whether a guest would find `program`; `directories` are patterns (`/usr/lib/postgresql/*/bin`) besides the usual ones.
    fn has(&self, program: &str, directories: &[String]) -> bool;
    /// The host's `devenv`, if it is in the store.
    fn devenv(&self) -> Option<PathBuf>;
    /// Whether the caller has `program` elsewhere, where a guest does not see it.
    fn elsewhere(&self, program: &str) -> Option<PathBuf>;
}

/// A program that a project wants and a guest would not find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The program.
    pub program: String,
    /// For what.
    pub what: String,
    /// Debian's package of it.
    pub debian: Option<String>,
    /// Where the caller has it, unseen by guests.
    pub elsewhere: Option<PathBuf>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is not on this host's /usr, where the VM would find it ({})", self.program, self.what)?;
        if let Some(path) = &self.elsewhere {
            write!(f, "; {} is not seen by VMs", path.display())?;
        }
        match &self.debian {
            Some(package) => write!(f, "; to install it: apt-get install {package}"),
            None => write!(f, "; Debian has no package of it"),
        }
    }
}

/// What is missing for a plan, services first.
pub fn missing(plan: &Plan, host: &dyn Host) -> Vec<Missing> {
    let mut all: Vec<Missing> = Vec::new();
    let mut look = |program: &str, directories: &[String], what: String, debian: &Option<String>| {
        if !host.has(program, directories) && !all.iter().any(|one| one.program == program) {
            let elsewhere = host.elsewhere(program);
            all.push(Missing { program: program.to_owned(), what, debian: debian.clone(), elsewhere });
        }
    };
    for service in &plan.services {
        look(&service.program, &service.directories, format!("service {}", service.name), &service.debian);
    }
    for package in &plan.packages {
        // Of a package that is not known here, not even the program's name is.
        if let (Some(program), Some(_)) = (&package.program, &package.debian) {
            look(program, &[], format!("package {}", package.expression), &package.debian);
        }
    }
    all
}

/// The host that this program runs on.
pub struct ThisHost;

/// Where guests search for programs, and the host's files are the same.
const SEARCHED: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin", "/usr/games"];

impl Host for ThisHost {
    fn has(&self, program: &str, directories: &[String]) -> bool {
        let patterns = directories.iter().flat_map(|pattern| matches(pattern));
        SEARCHED.iter().map(PathBuf::from).chain(patterns).any(|dir| executable(&dir.join(program)))
    }

    fn devenv(&self) -> Option<PathBuf> {
        let real = on_search_path("devenv")?.canonicalize().ok()?;
        real.starts_with("/nix/store").then_some(real)
    }

    fn elsewhere(&self, program: &str) -> Option<PathBuf> {
        on_search_path(program)
    }
}

fn on_search_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| executable(path))
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The directories that a pattern with `*` as whole parts stands for.
fn matches(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in Path::new(pattern).iter().skip(1) {
        found = found
            .into_iter()
            .flat_map(|dir| match part.to_str() {
                Some("*") => {
                    let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
                    entries.map(|entry| entry.path()).collect::<Vec<_>>()
                }
                _ => vec![dir.join(part)],
            })
            .collect();
    }
    found.retain(|dir| dir.is_dir());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_a_guest_would_find_them() {
        assert!(ThisHost.has("sh", &[]));
        assert!(!ThisHost.has("surely-no-program", &[]));
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("15/bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::os::unix::fs::symlink("/bin/sh", bin.join("only-here")).unwrap();
        let pattern = format!("{}/*/bin", dir.path().display());
        assert!(ThisHost.has("only-here", &[pattern]));
        assert!(!ThisHost.has("only-here", &[]));
    }

    #[test]
    fn what_is_missing_is_said_with_its_package() {
        let missing = Missing {
            program: "redis-server".to_owned(),
            what: "service redis".to_owned(),
            debian: Some("redis-server".to_owned()),
            elsewhere: Some("/home/ada/bin/redis-server".into()),
        };
        let text = missing.to_string();
        assert!(text.contains("apt-get install redis-server") && text.contains("not seen by VMs"), "{text}");
    }
}
