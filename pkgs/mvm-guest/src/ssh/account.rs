//! Accounts that may log in, and the environment they get.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Numeric user id.
    pub uid: u32,
    /// Numeric group id, the only group.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// Login shell.
    pub shell: PathBuf,
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables of a session. Later ones win: those of the account, of the VM, of the client (`requested`), of the
/// terminal.
pub fn environment(
    account: &Account,
    vm: &BTreeMap<String, String>,
    requested: &BTreeMap<String, String>,
    term: Option<&str>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([
        ("HOME".to_owned(), account.home.display().to_string()),
        ("USER".to_owned(), account.name.clone()),
        ("LOGNAME".to_owned(), account.name.clone()),
        ("SHELL".to_owned(), account.shell.display().to_string()),
        ("PATH".to_owned(), PATH.to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
        ("XDG_RUNTIME_DIR".to_owned(), crate::identity::runtime_dir(account.uid)),
    ]);
    variables.extend(vm.clone());
    variables.extend(requested.clone());
    if let Some(term) = term {
        variables.insert("TERM".to_owned(), term.to_owned());
    }
    variables
}

/// Where a session of `account` starts: in the first of `directories` that there is, else at home, else at the root.
pub fn start_dir<'a>(account: &'a Account, directories: &'a [PathBuf]) -> &'a Path {
    let mut candidates = directories.iter().chain([&account.home]).map(PathBuf::as_path);
    candidates.find(|dir| dir.is_dir()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_overrides_the_vm_which_overrides_the_account() {
        let account = Account {
            name: "dev".to_owned(),
            uid: 1000,
            gid: 1000,
            home: "/home/dev".into(),
            shell: "/bin/sh".into(),
        };
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let variables = environment(
            &account,
            &map(&[("PATH", "/vm"), ("A", "vm"), ("B", "vm")]),
            &map(&[("B", "client"), ("TERM", "client")]),
            Some("xterm"),
        );
        for (name, value) in
            [("HOME", "/home/dev"), ("PATH", "/vm"), ("A", "vm"), ("B", "client"), ("TERM", "xterm")]
        {
            assert_eq!(variables[name], value);
        }
    }

    #[test]
    fn a_session_starts_in_the_first_directory_that_there_is_or_at_home() {
        let dir = tempfile::tempdir().unwrap();
        let account = Account {
            name: "dev".to_owned(),
            uid: 1,
            gid: 1,
            home: dir.path().to_owned(),
            shell: "/bin/sh".into(),
        };
        assert_eq!(start_dir(&account, &["/nonexistent".into()]), dir.path());
        assert_eq!(
            start_dir(&account, &["/nonexistent".into(), "/usr".into(), "/".into()]),
            Path::new("/usr")
        );
    }
}
