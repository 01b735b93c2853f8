//! The paths of `mvm cp`, with the rules of scp(1) and cp(1).

use anyhow::bail;
use mvm_spec::VmName;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// One argument of `mvm cp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this host.
    Here(PathBuf),
    /// In a VM; an empty path is the directory where commands start.
    There(VmName, OsString),
}

/// What to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// From this host into a VM.
    Into {
        /// The VM.
        name: VmName,
        /// Here.
        sources: Vec<PathBuf>,
        /// There.
        destination: OsString,
    },
    /// From a VM to this host.
    OutOf {
        /// The VM.
        name: VmName,
        /// There.
        sources: Vec<OsString>,
        /// Here.
        destination: PathBuf,
    },
}

/// Reads an argument: `NAME:PATH` with a VM's name is in a VM, as long as no `/` comes before the `:`.
pub fn place(argument: &OsStr) -> Place {
    let bytes = argument.as_bytes();
    let name = bytes.iter().position(|byte| *byte == b':').and_then(|colon| {
        let name = std::str::from_utf8(bytes.get(..colon)?).ok()?;
        Some((VmName::new(name).ok()?, OsStr::from_bytes(bytes.get(colon + 1..)?).to_owned()))
    });
    match name {
        Some((name, path)) => Place::There(name, path),
        None => Place::Here(PathBuf::from(argument)),
    }
}

/// What `sources` to `destination` means.
pub fn plan(sources: Vec<Place>, destination: Place) -> anyhow::Result<Plan> {
    match destination {
        Place::There(name, destination) => {
            let mut here = Vec::new();
            for source in sources {
                match source {
                    Place::Here(path) => here.push(path),
                    Place::There(other, _) => bail!(
                        "can't copy from one VM to another; copy from {other} to this host first, then to {name}"
                    ),
                }
            }
            Ok(Plan::Into { name, sources: here, destination })
        }
        Place::Here(destination) => {
            let mut there = Vec::new();
            let mut vm: Option<VmName> = None;
            for source in sources {
                match source {
                    Place::There(name, path) => {
                        if vm.as_ref().is_some_and(|vm| *vm != name) {
                            bail!("can't copy from several VMs at once; copy from each by itself");
                        }
                        vm = Some(name);
                        there.push(path);
                    }
                    Place::Here(path) => bail!(
                        "neither {} nor {} is in a VM; write NAME:PATH for one of them",
                        path.display(),
                        destination.display()
                    ),
                }
            }
            let Some(name) = vm else { bail!("nothing to copy") };
            Ok(Plan::OutOf { name, sources: there, destination })
        }
    }
}

/// The name a path has at its destination; `None` for `.`, `..`, `/`, whose content is copied instead.
pub fn own_name(path: &Path) -> Option<&OsStr> {
    match path.components().next_back() {
        // `a/.` means the content of `a`, which `components` hides.
        Some(Component::Normal(name)) if !path.as_os_str().as_bytes().ends_with(b"/.") => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(name: &str, path: &str) -> Place {
        Place::There(VmName::new(name).unwrap(), path.into())
    }

    #[test]
    fn a_name_before_a_colon_is_a_vm() {
        assert_eq!(place(OsStr::new("web:src/a:b")), there("web", "src/a:b"));
        assert_eq!(place(OsStr::new("web:")), there("web", ""));
        for here in ["web", "./web:x", "a/web:x", "Web:x", ":x", "/web:x"] {
            assert_eq!(place(OsStr::new(here)), Place::Here(here.into()), "{here}");
        }
    }

    #[test]
    fn one_side_is_here_and_the_other_there() {
        let plan = |sources: &[&str], destination: &str| {
            plan(
                sources.iter().map(|source| place(OsStr::new(source))).collect(),
                place(OsStr::new(destination)),
            )
        };
        assert!(
            matches!(plan(&["a", "b"], "web:x").unwrap(), Plan::Into { sources, .. } if sources.len() == 2)
        );
        assert!(matches!(plan(&["web:a"], ".").unwrap(), Plan::OutOf { .. }));
        for (sources, destination) in
            [(&["a"][..], "b"), (&["web:a"], "api:b"), (&["web:a", "api:b"], "x"), (&["web:a", "b"], "x")]
        {
            assert!(plan(sources, destination).is_err(), "{sources:?} {destination}");
        }
    }

    #[test]
    fn the_content_of_a_directory_has_no_name_of_its_own() {
        for (path, name) in
            [("a", Some("a")), ("/x/a/", Some("a")), ("a/..", None), ("a/.", None), (".", None), ("/", None)]
        {
            assert_eq!(own_name(Path::new(path)), name.map(OsStr::new), "{path}");
        }
    }
}
