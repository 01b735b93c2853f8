//! Which directory is the project, and whether it may be one.

use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};

/// Who asks, for the advice in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `mvm create`.
    Create,
    /// `mvm run`.
    Run,
    /// `mvm shell`.
    Shell,
}

/// A directory that may be a project.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its canonical path.
    pub path: PathBuf,
    /// What its owner should know.
    pub warning: Option<String>,
}

/// The project at `given`, or the current directory.
pub fn find(given: Option<&Path>, purpose: Purpose, state_dir: &Path) -> anyhow::Result<Found> {
    let dir = given.unwrap_or(Path::new("."));
    let path = dir.canonicalize().with_context(|| match given {
        Some(dir) => format!("can't find the project {}", dir.display()),
        None => "can't find the current directory".to_owned(),
    })?;
    if !path.is_dir() {
        bail!("the project {} is not a directory", path.display());
    }
    std::fs::read_dir(&path)
        .with_context(|| format!("can't read the project {}; ask its owner for access", path.display()))?;
    let home = std::env::var_os("HOME").and_then(|home| Path::new(&home).canonicalize().ok());
    check(&path, given.is_some(), purpose, home.as_deref(), &resolved(state_dir))
}

/// The rules, without looking at the disk: all paths are canonical.
fn check(
    path: &Path,
    explicit: bool,
    purpose: Purpose,
    home: Option<&Path>,
    state_dir: &Path,
) -> anyhow::Result<Found> {
    let advice = match purpose {
        Purpose::Create | Purpose::Run => "name another with --project DIR, or use --no-project",
        Purpose::Shell => "change to a project's directory, or name a VM: mvm shell NAME",
    };
    let shown = path.display();
    if path == Path::new("/") {
        bail!("the whole file system can't be a project: a VM sees everything in its project; {advice}");
    }
    if path.to_str().is_none() {
        bail!("the project's path {shown} is no UTF-8 text; rename the directory");
    }
    let is_home = home == Some(path);
    if is_home && !explicit {
        bail!(
            "the current directory is your home: a VM would see everything in it, keys and passwords included; {advice}"
        );
    }
    if path.starts_with(state_dir) {
        bail!("the project {shown} is inside the state directory {}; {advice}", state_dir.display());
    }
    if state_dir.starts_with(path) {
        bail!(
            "the project {shown} contains the state directory {}, with the keys of all VMs; {advice}, or set \
             MVM_STATE_DIR to a directory outside of it",
            state_dir.display()
        );
    }
    let warning = is_home
        .then(|| format!("{shown} is your home: the VM sees everything in it, keys and passwords included"));
    Ok(Found { path: path.to_owned(), warning })
}

/// The canonical form of a path whose last parts may not exist yet.
fn resolved(path: &Path) -> PathBuf {
    for base in path.ancestors() {
        if let (Ok(base_resolved), Ok(rest)) = (base.canonicalize(), path.strip_prefix(base)) {
            return if rest.as_os_str().is_empty() { base_resolved } else { base_resolved.join(rest) };
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "/home/u/.local/state/microvm-dev";

    fn checked(path: &str, explicit: bool, state: &str) -> Result<Option<String>, String> {
        check(Path::new(path), explicit, Purpose::Create, Some(Path::new("/home/u")), Path::new(state))
            .map(|found| found.warning)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_ordinary_directory_is_a_project() {
        assert_eq!(checked("/home/u/shop", false, STATE), Ok(None));
        // Not a prefix by name alone.
        assert_eq!(checked("/home/u/.local/state/microvm-dev-2", false, STATE), Ok(None));
    }

    #[test]
    fn the_root_is_never_a_project() {
        assert!(checked("/", true, STATE).unwrap_err().contains("--project"));
    }

    #[test]
    fn the_home_is_a_project_only_if_asked_for_and_without_the_state_in_it() {
        assert!(checked("/home/u", false, "/srv/state").unwrap_err().contains("your home"));
        assert!(checked("/home/u", true, "/srv/state").unwrap().unwrap().contains("your home"));
        assert!(checked("/home/u", true, STATE).unwrap_err().contains("MVM_STATE_DIR"));
    }

    #[test]
    fn project_and_state_never_contain_each_other() {
        assert!(checked("/home/u/.local/state/microvm-dev/web", true, STATE).is_err());
        assert!(checked("/home/u/.local", true, STATE).is_err());
        assert!(checked(STATE, true, STATE).is_err());
    }

    #[test]
    fn a_path_that_does_not_exist_yet_is_resolved_as_far_as_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(resolved(&real.join("link/a/b")), real.join("a/b"));
        assert_eq!(resolved(&real), real);
    }
}
