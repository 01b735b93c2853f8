//! Declared VMs: specs that the host's configuration installs, as entries of the host realm's store.
//!
//! ```text
//! /etc/microvm-dev/vms/NAME.json   the spec as declared; a symbolic link into the Nix store
//! STATE/NAME/                      as of any VM: keys, forwards, the project's changes (see the parent module)
//! ```
//!
//! A declaration may change; what was made for the VM (keys, machine id, forwards added at run time, changes of the
//! project) stays. A VM whose declaration has gone stays in the store until somebody deletes it.

use super::files::{Durability, remove_tree, replace, sync_dir};
use super::{Store, StoredVm, json};
use crate::{Error, Result};
use mvm_spec::latest::Guest;
use mvm_spec::{VmName, VmSpec};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where specs are declared.
pub const DECLARED_DIR: &str = "/etc/microvm-dev/vms";

/// What [`Store::declare`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declaration {
    /// The VM is new.
    Made,
    /// Its declaration has changed.
    Changed,
    /// It is as declared already.
    Same,
}

/// The names declared in `dir`, sorted; none if there is no such directory.
pub fn declared_names(dir: &Path) -> Result<Vec<VmName>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("list", dir)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let file = entry.map_err(Error::io("list", dir))?.file_name();
        let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
        names.extend(name.and_then(|name| VmName::new(name).ok()));
    }
    names.sort();
    Ok(names)
}

/// The spec of VM `name` as declared in `dir`. Errors: it is not declared; it is no valid spec, or another VM's.
pub fn read_declared(dir: &Path, name: &VmName) -> Result<VmSpec> {
    let path = dir.join(format!("{name}.json"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::Failed(format!(
                "VM `{name}` is not declared: there is no {}; declare it as `services.microvm-dev.vms.{name}`",
                path.display()
            )));
        }
        Err(error) => return Err(Error::io("read", &path)(error)),
    };
    let spec = mvm_spec::parse(&text).map_err(|source| Error::Spec {
        name: name.clone(),
        path: path.clone(),
        source,
    })?;
    if spec.name != *name {
        return Err(Error::Failed(format!("{} is the spec of VM `{}`", path.display(), spec.name)));
    }
    Ok(spec)
}

impl Store {
    /// Makes a VM as declared, or brings one that there is to its declaration. Idempotent.
    ///
    /// Errors: a VM of that name was made by `mvm create`; its address, or the host's port of one of its forwards, is
    /// another VM's. Then nothing has changed.
    pub fn declare(&self, spec: VmSpec) -> Result<Declaration> {
        let forwards_lock = self.lock_forwards()?;
        let name = spec.name.clone();
        let there = match self.get(&name) {
            Ok(vm) => Some(vm),
            Err(Error::NoSuchVm(_)) => None,
            Err(error) => return Err(error),
        };
        if let Some(StoredVm { spec: VmSpec { guest: Guest::Embedded { .. }, .. }, .. }) = there {
            return Err(Error::Failed(format!(
                "VM `{name}` is declared, but one of that name was made by `mvm create`; `mvm --realm host delete {name}` \
                 removes it, or declare another name"
            )));
        }
        self.check_place(&spec)?;
        for forward in &spec.forwards {
            let holders = self.holders(&forwards_lock, forward.proto, forward.host)?;
            let other =
                holders.iter().find(|(holder, held)| *holder != name && held.forward.conflicts(forward));
            if let Some((holder, held)) = other {
                return Err(Error::Failed(format!(
                    "VM `{name}` can't have the forward {forward}: VM `{holder}` has {}; `mvm port {holder} --remove {}` \
                     frees it, or declare another host port",
                    held.forward, held.forward.host
                )));
            }
        }
        let Some(there) = there else {
            self.make_declared(spec)?;
            return Ok(Declaration::Made);
        };
        if there.spec == spec {
            return Ok(Declaration::Same);
        }
        // The forwards first: a crash between the two finds the old spec, and does both again.
        self.declare_forwards(&forwards_lock, &name, &spec.forwards)?;
        let path = self.paths(&name).spec();
        replace(&path, json(&spec, &path)?.as_bytes(), Durability::PowerLoss)?;
        Ok(Declaration::Changed)
    }

    /// Copies what the guest of VM `name` is told at its start into a directory of its own, which is returned:
    /// `ssh_host_ed25519_key`, `ssh_host_ed25519_key.pub`, `authorized_keys`, `machine-id`; for root alone.
    pub fn write_identity(&self, name: &VmName) -> Result<PathBuf> {
        let StoredVm { state, .. } = self.get(name)?;
        let paths = self.paths(name);
        let dir = paths.identity();
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::io("create", &dir)(error));
            }
            _ => {}
        }
        let read = |path: PathBuf| std::fs::read(&path).map_err(Error::io("read", &path));
        for (file, content) in [
            ("ssh_host_ed25519_key", read(paths.host_key())?),
            ("ssh_host_ed25519_key.pub", read(paths.host_key().with_extension("pub"))?),
            ("authorized_keys", read(paths.user_key().with_extension("pub"))?),
            ("machine-id", (state.machine_id + "\n").into_bytes()),
        ] {
            let path = dir.join(file);
            // Rarely new: what is as it should be costs no write.
            if std::fs::read(&path).is_ok_and(|there| there == content) {
                continue;
            }
            replace(&path, &content, Durability::PowerLoss)?;
        }
        Ok(dir)
    }

    fn check_place(&self, spec: &VmSpec) -> Result<()> {
        let Some(network) = &spec.network else { return Ok(()) };
        for (other, vm) in self.list()? {
            let Some(theirs) = vm.ok().and_then(|vm| vm.spec.network) else { continue };
            if other != spec.name && theirs.address.address == network.address.address {
                return Err(Error::Failed(format!(
                    "VM `{}` can't have the address {}: it is VM `{other}`'s; declare another `ipAddress`, or delete \
                     `{other}` if it is not declared any more",
                    spec.name, network.address.address
                )));
            }
        }
        Ok(())
    }

    fn make_declared(&self, spec: VmSpec) -> Result<()> {
        let _lock = self.lock()?;
        let made = self.create_dir(&spec, &[], None)?;
        let place = self.paths(&spec.name).dir;
        std::fs::rename(&made, &place).map_err(|error| {
            let _ = remove_tree(&made);
            Error::io("create", &place)(error)
        })?;
        sync_dir(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{draft, topology};
    use super::*;
    use mvm_spec::forward::{Forward, ForwardRequest};
    use std::os::unix::fs::PermissionsExt;

    fn forward(text: &str) -> Forward {
        text.parse::<ForwardRequest>().unwrap().forwards().next().unwrap()
    }

    fn declared(name: &str, address: &str, forwards: &[&str]) -> VmSpec {
        let mut spec = draft(name);
        spec.guest = Guest::Nixos { hypervisor: "qemu".to_owned() };
        spec.network.as_mut().unwrap().address = address.parse().unwrap();
        spec.forwards = forwards.iter().map(|text| forward(text)).collect();
        spec
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        (dir, store)
    }

    #[test]
    fn what_was_made_for_a_vm_stays_when_its_declaration_changes() {
        let (_dir, store) = store();
        let first = declared("web", "192.168.100.2/28", &["8080:80", "127.0.0.1:8443:443"]);
        assert_eq!(store.declare(first.clone()).unwrap(), Declaration::Made);
        assert_eq!(store.declare(first.clone()).unwrap(), Declaration::Same);
        let key = std::fs::read(store.paths(&first.name).host_key()).unwrap();
        let id = store.get(&first.name).unwrap().state.machine_id;
        {
            let lock = store.lock_forwards().unwrap();
            store.change_forwards(&lock, &first.name, &[forward("9000:90")], &[]).unwrap();
        }
        let second = declared("web", "192.168.100.3/28", &["8080:81"]);
        assert_eq!(store.declare(second.clone()).unwrap(), Declaration::Changed);
        assert_eq!(store.get(&first.name).unwrap().spec, second);
        assert_eq!(std::fs::read(store.paths(&first.name).host_key()).unwrap(), key);
        assert_eq!(store.get(&first.name).unwrap().state.machine_id, id);
        let forwards: Vec<(String, bool)> = store
            .forwards(&first.name)
            .unwrap()
            .into_iter()
            .map(|stored| (stored.forward.to_string(), stored.declared))
            .collect();
        assert_eq!(
            forwards,
            [(forward("8080:81").to_string(), true), (forward("9000:90").to_string(), false)]
        );
    }

    #[test]
    fn a_declared_forward_takes_the_place_of_one_added_at_run_time() {
        let (_dir, store) = store();
        let vm = declared("web", "192.168.100.2/28", &[]);
        store.declare(vm.clone()).unwrap();
        {
            let lock = store.lock_forwards().unwrap();
            store.change_forwards(&lock, &vm.name, &[forward("9000:90")], &[]).unwrap();
        }
        store.declare(declared("web", "192.168.100.2/28", &["9000:91"])).unwrap();
        let forwards = store.forwards(&vm.name).unwrap();
        assert_eq!(forwards.len(), 1);
        assert!(forwards[0].declared && forwards[0].forward == forward("9000:91"));
    }

    #[test]
    fn what_is_another_vms_is_refused_and_nothing_changes() {
        let (_dir, store) = store();
        store.declare(declared("a", "192.168.100.2/28", &["8080:80"])).unwrap();
        store.create(vec![draft("made")], &topology()).unwrap();
        for (spec, said) in [
            (declared("b", "192.168.100.2/28", &[]), "it is VM `a`'s"),
            (declared("b", "192.168.100.5/28", &["8080:1"]), "VM `a` has"),
            (declared("made", "192.168.100.4/28", &[]), "made by `mvm create`"),
        ] {
            let error = store.declare(spec).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(store.names().unwrap().len(), 2);
    }

    #[test]
    fn the_identity_is_a_copy_for_root_alone_and_is_kept() {
        let (_dir, store) = store();
        let vm = declared("web", "192.168.100.2/28", &[]);
        store.declare(vm.clone()).unwrap();
        let dir = store.write_identity(&vm.name).unwrap();
        let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
        assert_eq!(read("machine-id").trim_end(), store.get(&vm.name).unwrap().state.machine_id);
        assert!(read("ssh_host_ed25519_key").contains("PRIVATE KEY"));
        assert!(read("authorized_keys").starts_with("ssh-ed25519 "));
        for path in [dir.clone(), dir.join("ssh_host_ed25519_key")] {
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o077,
                0,
                "{}",
                path.display()
            );
        }
        let before = read("ssh_host_ed25519_key");
        store.write_identity(&vm.name).unwrap();
        assert_eq!(read("ssh_host_ed25519_key"), before);
    }

    #[test]
    fn declarations_are_read_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = |spec: &VmSpec| serde_json::to_string(spec).unwrap();
        let vm = declared("web", "192.168.100.2/28", &[]);
        std::fs::write(dir.path().join("web.json"), text(&vm)).unwrap();
        std::fs::write(dir.path().join("other.json"), text(&vm)).unwrap();
        std::fs::write(dir.path().join("README"), "").unwrap();
        let names: Vec<String> =
            declared_names(dir.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["other", "web"]);
        assert_eq!(read_declared(dir.path(), &vm.name).unwrap(), vm);
        let error = |name| read_declared(dir.path(), &VmName::new(name).unwrap()).unwrap_err().to_string();
        assert!(error("other").contains("is the spec of VM `web`"));
        assert!(error("none").contains("services.microvm-dev.vms.none"));
        assert!(declared_names(&dir.path().join("absent")).unwrap().is_empty());
    }
}
