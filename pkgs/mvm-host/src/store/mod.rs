//! The files of VMs: the one module that writes them.
//!
//! ```text
//! STATE/                      mode 0700
//!   .lock                     flock: exclusive while VMs are created or deleted (names, addresses)
//!   .forwards.lock            flock: exclusive while port forwards change
//!   .new-XXXX/  .trash-XXXX/  a VM half made or half deleted; swept by `sweep`
//!   NAME/
//!     spec.json               immutable
//!     state.json              what changes; replaced atomically, under NAME/.lock
//!     .lock
//!     ssh/host_key{,.pub}     the guest's SSH host key, pinned in known_hosts
//!     ssh/user_key{,.pub}     the key that logs in
//!     ssh/known_hosts
//!     forwards/               port forwards, a file for each port of the host (see `forwards`)
//!     overlay/upper, overlay/work   the project's changes
//!     home.img                home disk (with --persist)
//!     console.log{,.1}        the guest's console
//!     vmm.log                 what the VMM and the file server said
//! ```
//!
//! Every write is: temporary file, fsync, rename, fsync of the directory. A VM appears by the rename of its whole
//! directory and disappears by one, so that no process ever sees half a VM.

mod files;
mod forwards;

pub use forwards::{ForwardsChange, ForwardsLock, StoredForward};

use crate::net::topology::Topology;
use crate::{Error, Result, fault, keys};
use files::{Durability, lock_file, remove_tree, replace, sync_dir, write_new};
use mvm_spec::latest::Network;
use mvm_spec::{VmName, VmSpec};
use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What changes in the life of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VmState {
    /// Version of this format: 1.
    pub version: u32,
    /// When the VM was made, in seconds since 1970.
    pub created_at: u64,
    /// The guest's `/etc/machine-id`.
    pub machine_id: String,
    /// When it was started last, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// How it ended last, if not by a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

/// A VM as stored.
#[derive(Clone, Debug)]
pub struct StoredVm {
    /// What it is.
    pub spec: VmSpec,
    /// What has become of it.
    pub state: VmState,
}

/// A VM to be made.
#[derive(Clone, Debug)]
pub struct NewVm {
    /// What it is. Its forwards stay as long as the VM.
    pub spec: VmSpec,
    /// More forwards, which can be removed again.
    pub forwards: Vec<mvm_spec::forward::Forward>,
}

/// The paths of one VM.
#[derive(Clone, Debug)]
pub struct VmPaths {
    /// The VM's directory.
    pub dir: PathBuf,
}

impl VmPaths {
    /// `spec.json`.
    pub fn spec(&self) -> PathBuf {
        self.dir.join("spec.json")
    }
    /// `state.json`.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }
    /// The guest's private SSH host key.
    pub fn host_key(&self) -> PathBuf {
        self.dir.join("ssh/host_key")
    }
    /// The private key that logs in.
    pub fn user_key(&self) -> PathBuf {
        self.dir.join("ssh/user_key")
    }
    /// `known_hosts` with the guest's host key under the name [`ssh_host_alias`].
    pub fn known_hosts(&self) -> PathBuf {
        self.dir.join("ssh/known_hosts")
    }
    /// Upper layer of the project's overlay.
    pub fn upper(&self) -> PathBuf {
        self.dir.join("overlay/upper")
    }
    /// Work directory of the project's overlay.
    pub fn work(&self) -> PathBuf {
        self.dir.join("overlay/work")
    }
    /// The home disk.
    pub fn home_image(&self) -> PathBuf {
        self.dir.join("home.img")
    }
    /// The guest's console.
    pub fn console_log(&self) -> PathBuf {
        self.dir.join("console.log")
    }
    /// What the VMM and the file server said.
    pub fn vmm_log(&self) -> PathBuf {
        self.dir.join("vmm.log")
    }
}

/// The name under which SSH knows a VM (`HostKeyAlias`, `Host` of `mvm ssh-config`).
pub fn ssh_host_alias(name: &VmName) -> String {
    format!("{name}.mvm")
}

/// The VMs of one realm.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in `root` (a realm's state directory), which must exist.
    pub fn open(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The paths of VM `name`, whether it exists or not.
    pub fn paths(&self, name: &VmName) -> VmPaths {
        VmPaths { dir: self.root.join(name.as_str()) }
    }

    /// All names, sorted. A missing state directory holds none.
    pub fn names(&self) -> Result<Vec<VmName>> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", &self.root)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &self.root))?;
            // Our own files begin with `.`, which no VM name does.
            if let Some(name) = entry.file_name().to_str().and_then(|name| VmName::new(name).ok()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// All VMs, sorted by name; one that can't be read is an error of its own and hides no other.
    pub fn list(&self) -> Result<Vec<(VmName, Result<StoredVm>)>> {
        let mut vms = Vec::new();
        for name in self.names()? {
            match self.get(&name) {
                // Deleted since we read the directory.
                Err(Error::NoSuchVm(_)) => {}
                vm => vms.push((name, vm)),
            }
        }
        Ok(vms)
    }

    /// VM `name`.
    pub fn get(&self, name: &VmName) -> Result<StoredVm> {
        let paths = self.paths(name);
        let read = |path: PathBuf| match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !paths.dir.exists() => {
                Err(Error::NoSuchVm(name.clone()))
            }
            Err(error) => Err(Error::io("read", &path)(error)),
        };
        let spec = mvm_spec::parse(&read(paths.spec())?).map_err(|source| Error::Spec {
            name: name.clone(),
            path: paths.spec(),
            source,
        })?;
        let state = serde_json::from_str(&read(paths.state())?)
            .map_err(|source| Error::State { path: paths.state(), source })?;
        Ok(StoredVm { spec, state })
    }

    /// Whether there is a VM `name`.
    pub fn contains(&self, name: &VmName) -> bool {
        self.paths(name).dir.is_dir()
    }

    /// Makes VMs: all of `drafts` or none.
    ///
    /// A draft with a network gets a free place of `topology`, and keeps its peers and egress. Names that are taken, and a
    /// full subnet, are found before anything is written. Returns the specs as written.
    pub fn create(&self, drafts: Vec<VmSpec>, topology: &dyn Topology) -> Result<Vec<VmSpec>> {
        let lock = self.lock_forwards()?;
        let vms = drafts.into_iter().map(|spec| NewVm { spec, forwards: Vec::new() }).collect();
        self.create_with(&lock, vms, topology)
    }

    /// As [`Store::create`], with forwards that the holder of the lock has found to be free.
    pub fn create_with(
        &self,
        _forwards: &ForwardsLock,
        vms: Vec<NewVm>,
        topology: &dyn Topology,
    ) -> Result<Vec<VmSpec>> {
        let (mut drafts, forwards): (Vec<VmSpec>, Vec<_>) =
            vms.into_iter().map(|NewVm { spec, forwards }| (spec, forwards)).unzip();
        let _lock = self.lock()?;
        if let Some(draft) = drafts.iter().find(|draft| self.contains(&draft.name)) {
            return Err(Error::NameTaken(draft.name.clone()));
        }
        if drafts.iter().any(|draft| draft.network.is_some()) {
            let mut taken: Vec<Network> =
                self.list()?.into_iter().filter_map(|(_, vm)| vm.ok()?.spec.network).collect();
            let existing = taken.len();
            for VmSpec { name, network, .. } in &mut drafts {
                let Some(network) = network else { continue };
                let (egress, peers) =
                    (std::mem::take(&mut network.egress), std::mem::take(&mut network.peers));
                let place = topology.place(name, &taken).map_err(|error| match error {
                    // Of those that there are; the drafts before this one will not be.
                    Error::SubnetFull { subnet, .. } => Error::SubnetFull { subnet, used: existing },
                    other => other,
                })?;
                *network = Network { egress, peers, ..place };
                taken.push(network.clone());
            }
        }
        let mut made: Vec<PathBuf> = Vec::new();
        let undo = |made: &[PathBuf]| {
            for dir in made {
                // The error that led here is the one to report; `sweep` finds what stays.
                let _ = remove_tree(dir);
            }
        };
        for (draft, forwards) in drafts.iter().zip(&forwards) {
            match self.create_dir(draft, forwards) {
                Ok(dir) => made.push(dir),
                Err(error) => {
                    undo(&made);
                    return Err(error);
                }
            }
        }
        fault::point("create-made");
        for (draft, dir) in drafts.iter().zip(&made) {
            let place = self.paths(&draft.name).dir;
            if let Err(error) = std::fs::rename(dir, &place) {
                undo(&made);
                undo(&drafts.iter().map(|draft| self.paths(&draft.name).dir).collect::<Vec<_>>());
                return Err(Error::io("create", &place)(error));
            }
            fault::point("create-first");
        }
        if drafts.iter().any(|draft| !draft.ephemeral) {
            sync_dir(&self.root)?;
        }
        Ok(drafts)
    }

    /// A complete VM directory under a temporary name.
    fn create_dir(&self, spec: &VmSpec, added: &[mvm_spec::forward::Forward]) -> Result<PathBuf> {
        let durability = if spec.ephemeral { Durability::ProcessEnd } else { Durability::PowerLoss };
        let dir = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&self.root)
            .map_err(Error::io("create a directory in", &self.root))?;
        let paths = VmPaths { dir: dir.path().to_owned() };
        for sub in ["ssh", "overlay", "overlay/upper", "overlay/work"] {
            let sub = paths.dir.join(sub);
            std::fs::DirBuilder::new().mode(0o700).create(&sub).map_err(Error::io("create", &sub))?;
        }
        let host = keys::generate(&format!("host key of {}", spec.name))?;
        let user = keys::generate(&format!("user key of {}", spec.name))?;
        let known = format!("{} {}\n", ssh_host_alias(&spec.name), host.public);
        let state = VmState {
            version: 1,
            created_at: now(),
            machine_id: new_machine_id()?,
            started_at: None,
            last_failure: None,
        };
        for (path, text) in [
            (paths.host_key(), host.private),
            (paths.dir.join("ssh/host_key.pub"), host.public + "\n"),
            (paths.user_key(), user.private),
            (paths.dir.join("ssh/user_key.pub"), user.public + "\n"),
            (paths.known_hosts(), known),
            (paths.state(), json(&state, &paths.state())?),
            (paths.spec(), json(spec, &paths.spec())?),
        ] {
            write_new(&path, text.as_bytes(), durability)?;
        }
        forwards::write_first(&paths, &spec.forwards, added, durability)?;
        if durability == Durability::PowerLoss {
            sync_dir(&paths.dir.join("ssh"))?;
            sync_dir(&paths.dir)?;
        }
        Ok(dir.keep())
    }

    /// Changes the state of VM `name` by `change`, atomically.
    pub fn update_state(&self, name: &VmName, change: impl FnOnce(&mut VmState)) -> Result<VmState> {
        let paths = self.paths(name);
        let _lock = match lock_file(&paths.dir.join(".lock")) {
            Err(_) if !paths.dir.exists() => return Err(Error::NoSuchVm(name.clone())),
            lock => lock?,
        };
        let StoredVm { spec, mut state } = self.get(name)?;
        change(&mut state);
        let text = json(&state, &paths.state())?;
        let durability = if spec.ephemeral { Durability::ProcessEnd } else { Durability::PowerLoss };
        replace(&paths.state(), text.as_bytes(), durability)?;
        Ok(state)
    }

    /// Removes VM `name` and all its files. The caller has made sure that it does not run.
    pub fn delete(&self, name: &VmName) -> Result<()> {
        let dir = self.paths(name).dir;
        fault::point("delete-begin");
        let trash = {
            let _lock = self.lock()?;
            let trash = tempfile::Builder::new()
                .prefix(".trash-")
                .tempdir_in(&self.root)
                .map_err(Error::io("create a directory in", &self.root))?
                .keep();
            // Onto an empty directory, rename(2) is atomic.
            match std::fs::rename(&dir, &trash) {
                Ok(()) => trash,
                Err(error) => {
                    let _ = std::fs::remove_dir(&trash);
                    return Err(match error.kind() {
                        std::io::ErrorKind::NotFound => Error::NoSuchVm(name.clone()),
                        _ => Error::io("delete", &dir)(error),
                    });
                }
            }
        };
        fault::point("delete-renamed");
        remove_tree(&trash)
    }

    /// Throws away the project's changes: the upper layer becomes empty.
    pub fn reset_overlay(&self, name: &VmName) -> Result<()> {
        let paths = self.paths(name);
        for dir in [paths.upper(), paths.work()] {
            remove_tree(&dir)?;
            std::fs::DirBuilder::new().mode(0o700).create(&dir).map_err(Error::io("create", &dir))?;
        }
        Ok(())
    }

    /// Removes what a crash left half made or half deleted; returns what it removed.
    pub fn sweep(&self) -> Result<Vec<PathBuf>> {
        let _lock = self.lock()?;
        let unfinished = self.unfinished()?;
        unfinished.iter().try_for_each(|dir| remove_tree(dir))?;
        Ok(unfinished)
    }

    /// What is half made or half deleted: by a crash, or at this moment.
    pub fn unfinished(&self) -> Result<Vec<PathBuf>> {
        let mut unfinished = Vec::new();
        for entry in std::fs::read_dir(&self.root).map_err(Error::io("list", &self.root))? {
            let entry = entry.map_err(Error::io("list", &self.root))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".new-") || name.starts_with(".trash-") {
                unfinished.push(entry.path());
            }
        }
        Ok(unfinished)
    }

    /// Removes VMs of one command that are older than `age`. For a keeper that starts: none of them runs, and younger
    /// ones may be on their way to it.
    pub fn sweep_ephemeral(&self, age: Duration) -> Result<Vec<VmName>> {
        let mut swept = Vec::new();
        for (name, vm) in self.list()? {
            let stale = |vm: &StoredVm| {
                vm.spec.ephemeral && vm.state.created_at.saturating_add(age.as_secs()) < now()
            };
            if vm.is_ok_and(|vm| stale(&vm)) {
                self.delete(&name)?;
                swept.push(name);
            }
        }
        Ok(swept)
    }

    fn lock(&self) -> Result<Flock<File>> {
        lock_file(&self.root.join(".lock"))
    }
}

fn json(value: &impl Serialize, path: &Path) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|source| Error::State { path: path.to_owned(), source })?;
    text.push('\n');
    Ok(text)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// 32 hexadecimal digits that make a valid random UUID (machine-id(5)).
fn new_machine_id() -> Result<String> {
    let mut id = [0u8; 16];
    let mut random = File::open("/dev/urandom").map_err(Error::io("open", "/dev/urandom"))?;
    std::io::Read::read_exact(&mut random, &mut id).map_err(Error::io("read", "/dev/urandom"))?;
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    Ok(hex::encode(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::topology::SharedBridge;
    use mvm_spec::egress::Egress;
    use mvm_spec::latest::{Guest, Persistence, Resources, User, VERSION};
    use mvm_spec::net::Cidr;
    use std::os::unix::fs::PermissionsExt;

    fn subnet() -> Cidr {
        "192.168.100.1/28".parse().unwrap()
    }

    pub(super) fn topology() -> SharedBridge {
        SharedBridge { bridge: "virbr-mvm".to_owned(), address: subnet() }
    }

    pub(super) fn draft(name: &str) -> VmSpec {
        let name = VmName::new(name).unwrap();
        VmSpec {
            version: VERSION,
            resources: Resources { vcpu: 1, mem_mib: 256 },
            guest: Guest::Embedded { kernel: None },
            project: None,
            user: User { name: "dev".to_owned(), uid: 1000, gid: 1000 },
            network: Some(Network {
                bridge: "virbr-mvm".to_owned(),
                mac: name.mac(),
                address: subnet(),
                gateway: subnet().address,
                egress: Egress::Outbound,
                peers: Vec::new(),
            }),
            forwards: Vec::new(),
            persistence: Persistence::default(),
            environment: std::collections::BTreeMap::new(),
            ephemeral: false,
            name,
        }
    }

    pub(super) fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path());
        (dir, store)
    }

    fn address(spec: &VmSpec) -> String {
        spec.network.as_ref().unwrap().address.to_string()
    }

    #[test]
    fn what_is_created_is_found_again_and_private() {
        let (dir, store) = store();
        let made = store.create(vec![draft("b"), draft("a")], &topology()).unwrap();
        assert_eq!(store.names().unwrap().iter().map(VmName::as_str).collect::<Vec<_>>(), ["a", "b"]);
        let stored = store.get(&made[0].name).unwrap();
        assert_eq!(stored.spec, made[0]);
        assert_eq!(stored.state.machine_id.len(), 32);
        let paths = store.paths(&made[0].name);
        for file in [paths.host_key(), paths.user_key(), paths.state(), paths.spec()] {
            assert_eq!(
                std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                file.display()
            );
        }
        let known = std::fs::read_to_string(paths.known_hosts()).unwrap();
        assert!(known.starts_with("b.mvm ssh-ed25519 "), "{known}");
        assert!(
            std::fs::read_dir(dir.path())
                .unwrap()
                .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with(".new-") })
        );
    }

    #[test]
    fn an_address_is_kept_for_life_and_used_again_after_it() {
        let (_dir, store) = store();
        let first = store.create(vec![draft("a"), draft("b"), draft("c")], &topology()).unwrap();
        assert_eq!(
            first.iter().map(address).collect::<Vec<_>>(),
            [2, 3, 4].map(|n| format!("192.168.100.{n}/28"))
        );
        store.delete(&first[1].name).unwrap();
        assert_eq!(address(&store.create(vec![draft("d")], &topology()).unwrap()[0]), "192.168.100.3/28");
        assert_eq!(address(&store.get(&first[2].name).unwrap().spec), "192.168.100.4/28");
    }

    #[test]
    fn all_or_none_is_created() {
        let (dir, store) = store();
        store.create(vec![draft("b")], &topology()).unwrap();
        let taken = store.create(vec![draft("a"), draft("b"), draft("c")], &topology());
        assert!(matches!(taken, Err(Error::NameTaken(name)) if name.as_str() == "b"));
        let many = (0..20).map(|n| draft(&format!("vm-{n}"))).collect();
        assert!(matches!(store.create(many, &topology()), Err(Error::SubnetFull { used: 1, .. })));
        assert_eq!(store.names().unwrap().len(), 1);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "the VM and the locks");
    }

    #[test]
    fn deletion_takes_directories_that_lost_their_permissions() {
        let (dir, store) = store();
        let made = store.create(vec![draft("a")], &topology()).unwrap();
        let locked = store.paths(&made[0].name).work().join("work");
        std::fs::create_dir_all(locked.join("inner")).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
        store.delete(&made[0].name).unwrap();
        assert!(matches!(store.delete(&made[0].name), Err(Error::NoSuchVm(_))));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "the locks");
    }

    #[test]
    fn a_damaged_vm_hides_no_other() {
        let (_dir, store) = store();
        let made = store.create(vec![draft("a"), draft("b")], &topology()).unwrap();
        std::fs::write(store.paths(&made[0].name).spec(), "{").unwrap();
        let list = store.list().unwrap();
        assert!(matches!(&list[0], (_, Err(Error::Spec { .. }))));
        assert!(list[1].1.is_ok());
        store.delete(&made[0].name).unwrap();
    }

    #[test]
    fn a_sweep_takes_what_is_half_made_and_nothing_else() {
        let (dir, store) = store();
        store.create(vec![draft("a")], &topology()).unwrap();
        for left in [".new-x", ".trash-y"] {
            std::fs::create_dir(dir.path().join(left)).unwrap();
        }
        assert_eq!(store.sweep().unwrap().len(), 2);
        assert_eq!(store.names().unwrap().len(), 1);
        let mut ephemeral = draft("e");
        ephemeral.ephemeral = true;
        store.create(vec![ephemeral], &topology()).unwrap();
        assert_eq!(store.sweep_ephemeral(Duration::from_secs(300)).unwrap(), []);
        let name = VmName::new("e").unwrap();
        store.update_state(&name, |state| state.created_at -= 301).unwrap();
        assert_eq!(store.sweep_ephemeral(Duration::from_secs(300)).unwrap(), [name]);
    }

    #[test]
    fn parallel_changes_of_the_state_are_all_kept() {
        let (_dir, store) = store();
        let name = store.create(vec![draft("a")], &topology()).unwrap()[0].name.clone();
        store.update_state(&name, |state| state.started_at = Some(0)).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        store
                            .update_state(&name, |state| state.started_at = state.started_at.map(|n| n + 1))
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(store.get(&name).unwrap().state.started_at, Some(200));
    }
}
