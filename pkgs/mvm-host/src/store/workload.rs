//! What runs in a VM by itself, and whether its project asks for something else by now.

use super::files::{Durability, replace, sync_dir, write_new};
use super::{Outdated, Store, VmPaths, json, now};
use crate::{Error, Result};
use mvm_spec::VmName;
use mvm_spec::workload::Workload;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;

impl Store {
    /// The workload of VM `name`; none if it never had one.
    pub fn workload(&self, name: &VmName) -> Result<Option<Workload>> {
        let paths = self.paths(name);
        let path = paths.workload();
        match std::fs::read_to_string(&path) {
            Ok(text) => Workload::parse(&text).map(Some).map_err(|error| {
                Error::Failed(format!(
                    "{} can't be used: {error}; `mvm workload {name} FILE` replaces it",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound && paths.dir.exists() => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::NoSuchVm(name.clone())),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// Makes `workload` that of VM `name`, which is then up to date.
    pub fn set_workload(&self, name: &VmName, workload: &Workload) -> Result<()> {
        let lock = self.lock_vm(name)?;
        let paths = self.paths(name);
        let durability =
            if self.get(name)?.spec.ephemeral { Durability::ProcessEnd } else { Durability::PowerLoss };
        make_log_dir(&paths)?;
        replace(&paths.workload(), json(workload, &paths.workload())?.as_bytes(), durability)?;
        self.update_state_under(&lock, name, |state| state.outdated = None).map(|_| ())
    }

    /// Notes what differs between VM `name`'s workload and its project's: `differences`, of which there may be none.
    pub fn set_outdated(&self, name: &VmName, differences: Vec<String>) -> Result<()> {
        self.update_state(name, |state| {
            let since = state.outdated.as_ref().map_or_else(now, |outdated| outdated.since);
            state.outdated = (!differences.is_empty()).then_some(Outdated { since, what: differences });
        })
        .map(|_| ())
    }
}

/// Writes the workload of a VM that is being made, into its directory under a temporary name.
pub(super) fn write_first(paths: &VmPaths, workload: &Workload, durability: Durability) -> Result<()> {
    make_log_dir(paths)?;
    write_new(&paths.workload(), json(workload, &paths.workload())?.as_bytes(), durability)
}

/// Who follows a log watches its directory, which is therefore there before the log is.
fn make_log_dir(paths: &VmPaths) -> Result<()> {
    let dir = paths.process_logs();
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => sync_dir(&paths.dir),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("create", &dir)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewVm;
    use super::super::tests::{draft, store, topology};
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn workload(exec: &str) -> Workload {
        let json = serde_json::json!({ "version": 1, "processes": [{ "name": "web", "exec": exec }] });
        Workload::parse(&json.to_string()).unwrap()
    }

    #[test]
    fn a_workload_given_at_the_making_is_there_and_can_be_replaced() {
        let (_dir, store) = store();
        let vm = |name| NewVm { spec: draft(name), forwards: Vec::new(), workload: Some(workload("a")) };
        let lock = store.lock_forwards().unwrap();
        store.create_with(&lock, vec![vm("a"), vm("b")], &topology()).unwrap();
        let [a, b] = ["a", "b"].map(|name| VmName::new(name).unwrap());
        store.set_workload(&a, &workload("other")).unwrap();
        assert_eq!(store.workload(&a).unwrap().unwrap(), workload("other"));
        assert_eq!(store.workload(&b).unwrap().unwrap(), workload("a"));
        // Variables may be secrets.
        let mode = std::fs::metadata(store.paths(&a).workload()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(store.paths(&a).process_logs().is_dir());
    }

    #[test]
    fn a_vm_is_outdated_from_the_first_difference_until_there_is_none() {
        let (_dir, store) = store();
        let name = store.create(vec![draft("a")], &topology()).unwrap()[0].name.clone();
        assert_eq!(store.workload(&name).unwrap(), None);
        let outdated = || store.get(&name).unwrap().state.outdated;
        store.set_outdated(&name, vec!["process web added".to_owned()]).unwrap();
        let first = outdated().unwrap();
        store.update_state(&name, |state| state.outdated.as_mut().unwrap().since = 7).unwrap();
        store.set_outdated(&name, vec!["process db added".to_owned()]).unwrap();
        assert_eq!(outdated().unwrap(), Outdated { since: 7, what: vec!["process db added".to_owned()] });
        assert_eq!(first.what, ["process web added"]);
        store.set_workload(&name, &workload("a")).unwrap();
        assert_eq!(outdated(), None);
        store.set_outdated(&name, vec!["x".to_owned()]).unwrap();
        store.set_outdated(&name, Vec::new()).unwrap();
        assert_eq!(outdated(), None);
    }

    #[test]
    fn a_workload_of_no_vm_and_a_damaged_one_are_errors() {
        let (_dir, store) = store();
        let nobody = VmName::new("nobody").unwrap();
        assert!(matches!(store.workload(&nobody), Err(Error::NoSuchVm(_))));
        assert!(matches!(store.set_workload(&nobody, &workload("a")), Err(Error::NoSuchVm(_))));
        let name = store.create(vec![draft("a")], &topology()).unwrap()[0].name.clone();
        std::fs::write(store.paths(&name).workload(), "{").unwrap();
        assert!(store.workload(&name).unwrap_err().to_string().contains("mvm workload a FILE"));
        store.set_workload(&name, &workload("a")).unwrap();
        assert_eq!(store.workload(&name).unwrap().unwrap(), workload("a"));
    }
}
