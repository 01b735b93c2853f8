//! Where the files of a VM are.

use std::path::PathBuf;

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
    /// `workload.json`.
    pub fn workload(&self) -> PathBuf {
        self.dir.join("workload.json")
    }
    /// The directory of what the processes of its workload print.
    pub fn process_logs(&self) -> PathBuf {
        self.dir.join("processes")
    }
    /// What process `name` of its workload prints.
    pub fn process_log(&self, name: &str) -> PathBuf {
        self.process_logs().join(format!("{name}.log"))
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
    /// The project's overlay of a declared VM, mounted for its file server.
    pub fn merged(&self) -> PathBuf {
        self.dir.join("merged")
    }
    /// What a declared VM's guest is told at its start.
    pub fn identity(&self) -> PathBuf {
        self.dir.join("identity")
    }
}
