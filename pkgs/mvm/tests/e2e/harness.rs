//! A realm for one test.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long anything that a test waits for may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// The ordinary user of tests that root runs: an id that no account has.
pub const ORDINARY: u32 = 65533;

/// Who runs `mvm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum As {
    /// Whoever runs the tests.
    Caller,
    /// An ordinary user.
    Ordinary,
}

/// A realm, a project, and whoever uses them.
pub struct Realm {
    dir: tempfile::TempDir,
    who: As,
}

impl Realm {
    /// A realm of the caller's.
    pub fn new() -> Self {
        Self::of(As::Caller)
    }

    /// A realm of `who`.
    pub fn of(who: As) -> Self {
        let dir = tempfile::Builder::new().prefix("mvm-e2e-").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let realm = Self { dir, who };
        for sub in ["project", "state", "cache", "run", "home"] {
            let sub = realm.path(sub);
            std::fs::create_dir(&sub).unwrap();
            realm.give(&sub);
        }
        realm
    }

    /// Whether root runs the tests.
    pub fn root() -> bool {
        nix::unistd::geteuid().is_root()
    }

    fn drops_privileges(&self) -> bool {
        self.who == As::Ordinary && Self::root()
    }

    /// Gives a path to the realm's user.
    pub fn give(&self, path: &Path) {
        if self.drops_privileges() {
            std::os::unix::fs::lchown(path, Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
    }

    /// A path in the realm's own directory.
    pub fn path(&self, sub: &str) -> PathBuf {
        self.dir.path().join(sub)
    }

    /// The project.
    pub fn project(&self) -> PathBuf {
        self.path("project")
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.project().join(path);
        for dir in path.parent().unwrap().ancestors().take_while(|dir| dir.starts_with(self.project())) {
            std::fs::create_dir_all(dir).unwrap();
            self.give(dir);
        }
        std::fs::write(&path, content).unwrap();
        self.give(&path);
    }

    /// A program run by the realm's user, with the realm's environment, in the project.
    pub fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = if self.drops_privileges() {
            let mut command = Command::new("setpriv");
            let id = ORDINARY.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .current_dir(self.project())
            .env("HOME", self.path("home"))
            .env("MVM_STATE_DIR", self.path("state"))
            .env("MVM_CACHE_DIR", self.path("cache"))
            .env("MVM_RUNTIME_DIR", self.path("run"))
            .env("MVM_KERNEL", kernel())
            .env_remove("MVM_REALM")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::null());
        command
    }

    /// `mvm` with `args`, in a network namespace of its own where that is possible.
    pub fn mvm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = if Self::root() {
            let mut command = Command::new("unshare");
            command.args(["--net", "--"]);
            if self.drops_privileges() {
                let id = ORDINARY.to_string();
                command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"]);
            }
            command.arg(mvm());
            command
        } else {
            Command::new(mvm())
        };
        let model = self.program("true");
        for (name, value) in model.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(self.project()).stdin(Stdio::null()).args(args);
        command
    }

    /// Runs `mvm` and gives its output.
    pub fn output<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.mvm(args).output().unwrap()
    }

    /// Runs `mvm`, which must succeed, and gives its standard output.
    #[track_caller]
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let args: Vec<_> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        succeeded(&args, self.output(&args))
    }

    /// Runs a shell script in VM `name`, which must succeed, and gives its standard output.
    #[track_caller]
    pub fn sh(&self, name: &str, script: &str) -> String {
        self.ok(["exec", name, "--", "sh", "-euc", script])
    }

    /// `mvm list --json`.
    #[track_caller]
    pub fn list(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&self.ok(["list", "--json"])).unwrap()
    }

    /// `mvm status NAME --json`.
    #[track_caller]
    pub fn status(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.ok(["status", name, "--json"])).unwrap()
    }

    /// Host process ids of everything that belongs to this realm, found by the realm's directory in their command lines
    /// or environments.
    pub fn processes(&self) -> Vec<i32> {
        let needle = self.dir.path().to_string_lossy().into_owned();
        let mine = std::process::id();
        let mut pids = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let holds = |file: &str| {
                std::fs::read(entry.path().join(file))
                    .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(&needle))
            };
            if pid.unsigned_abs() != mine && (holds("cmdline") || holds("environ")) {
                pids.push(pid);
            }
        }
        pids
    }

    /// Waits until no process of the realm is left.
    #[track_caller]
    pub fn wait_until_quiet(&self) {
        wait_for("all processes of the realm to end", || self.processes().is_empty().then_some(()));
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        let _ = self.mvm(["stop", "--all", "--force", "--yes"]).output();
        for pid in self.processes() {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// Waits for a condition, at most [`DEADLINE`].
#[track_caller]
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The output of a command that must have succeeded.
#[track_caller]
pub fn succeeded<S: AsRef<OsStr>>(args: &[S], output: Output) -> String {
    let line: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    assert!(
        output.status.success(),
        "`{}` ended with {}\nstdout: {}\nstderr: {}",
        line.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The built `mvm`.
pub fn mvm() -> &'static str {
    env!("CARGO_BIN_EXE_mvm")
}

/// The kernel that `scripts/fetch-kernel` unpacked, or `MVM_KERNEL`.
pub fn kernel() -> PathBuf {
    if let Some(kernel) = std::env::var_os("MVM_KERNEL") {
        return kernel.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap()
        .join("microvm-dev/kernels");
    let boots =
        std::fs::read_dir(&cache).into_iter().flatten().flatten().map(|entry| entry.path().join("boot"));
    boots
        .flat_map(|boot| std::fs::read_dir(boot).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz")))
        .unwrap_or_else(|| {
            panic!("no kernel in {}: run scripts/fetch-kernel, or set MVM_KERNEL", cache.display())
        })
}

/// A file tree, for comparison: path, kind, mode, owner, times, content.
pub fn snapshot(dir: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut stack = vec![dir.to_owned()];
    while let Some(path) = stack.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            std::fs::read_link(&path).unwrap().to_string_lossy().into_owned()
        } else if meta.is_file() {
            format!("{:?}", std::fs::read(&path).unwrap())
        } else {
            stack.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        };
        lines.push(format!(
            "{} {:o} {}:{} links={} mtime={}.{} ctime={}.{} {content}",
            path.display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ));
    }
    lines.sort();
    lines
}
