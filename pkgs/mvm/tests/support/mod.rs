//! What the tests share: a realm of directories of its own, and a keeper that runs no VMs.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod guest;
pub mod keeper;

use assert_cmd::Command;
use mvm_host::realm::{Config, Realm, RealmKind};
use mvm_host::store::Store;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Directories of a realm, and a project.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("mvm").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("project")).unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        Self { dir }
    }

    pub fn path(&self, sub: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(sub)
    }

    pub fn project(&self) -> PathBuf {
        self.path("project")
    }

    pub fn store(&self) -> Store {
        Store::open(self.path("state"))
    }

    /// What `mvm` with these variables takes for its realm.
    pub fn realm(&self) -> Realm {
        let output = self.mvm(&["ssh-config"]).output().unwrap();
        assert!(output.status.success());
        let run = std::fs::read_dir(self.path("run")).map(|mut dirs| dirs.next());
        let run_dir = match run {
            Ok(Some(entry)) => entry.unwrap().path(),
            // The directory's name is mvm's to choose: it makes it when it makes a VM.
            _ => {
                self.mvm(&["create", "for-the-realm", "--no-project"]).assert().success();
                self.mvm(&["delete", "for-the-realm"]).assert().success();
                std::fs::read_dir(self.path("run")).unwrap().next().unwrap().unwrap().path()
            }
        };
        Realm {
            kind: RealmKind::User,
            state_dir: self.path("state"),
            cache_dir: self.path("cache"),
            run_dir,
            config: Config::default(),
        }
    }

    /// The variables that lead `mvm` here.
    pub fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("MVM_STATE_DIR", self.path("state")),
            ("MVM_CACHE_DIR", self.path("cache")),
            ("MVM_RUNTIME_DIR", self.path("run")),
            ("HOME", self.path("home")),
            ("PATH", std::env::var_os("PATH").unwrap().into()),
        ]
    }

    /// `mvm` in the project's directory.
    pub fn mvm(&self, args: &[&str]) -> Command {
        Command::from_std(self.std_mvm(args))
    }

    /// The same, as a command of std.
    pub fn std_mvm(&self, args: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mvm"));
        command.args(args).current_dir(self.project()).env_clear().envs(self.variables());
        command
    }
}

/// Waits until `condition` holds.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
