//! Namespaces for tests: a test runs again in namespaces of its own, as root and as an ordinary user, laid out as a
//! keeper's are: the process is in the "host's" network namespace, single threads are in others.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc;
use tokio::runtime::{Builder, Handle};

const INSIDE: &str = "MVM_TEST_INSIDE";
/// An ordinary user's id: any but 0 does, it need not be known to the system.
const ORDINARY: u32 = 1000;

/// Runs `body`, of the test function `name`, in fresh user, mount, PID and network namespaces: with user id 0 mapped,
/// and as an ordinary user with capabilities over the namespaces only.
pub fn in_namespaces(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        shell("ip link set lo up");
        return body();
    }
    let root = nix::unistd::geteuid().is_root();
    open_up_tun(root);
    let mut users = vec![(vec!["unshare", "--map-root-user"], "root of its own user namespace")];
    let uid = ORDINARY.to_string();
    let drop = [
        "setpriv",
        "--reuid",
        &uid,
        "--regid",
        &uid,
        "--clear-groups",
        "unshare",
        "--map-current-user",
        "--keep-caps",
    ];
    users.push((if root { drop.to_vec() } else { drop[6..].to_vec() }, "an ordinary user"));
    for (command, user) in users {
        let status = Command::new(command[0])
            .args(&command[1..])
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(INSIDE, "1")
            // Nobody's home or runtime directory is used; PATH lacks sbin, as an ordinary user's does.
            .env_remove("XDG_RUNTIME_DIR")
            .status()
            .unwrap();
        assert!(status.success(), "{name} as {user}: {status}");
    }
}

/// Taps need no privilege on the host but access to the device, which fresh machines may lack.
fn open_up_tun(root: bool) {
    let device = "/dev/net/tun";
    let mode = std::fs::metadata(device).expect("/dev/net/tun: `modprobe tun`").permissions().mode();
    if mode & 0o006 != 0o006 {
        assert!(root, "{device} is closed to ordinary users: `sudo chmod 0666 {device}`");
        println!(
            "note: {device} was open to root only; opened it up (chmod 0666) for tests as an ordinary user"
        );
        std::fs::set_permissions(device, PermissionsExt::from_mode(0o666)).unwrap();
    }
}

/// Runs shell commands that must all succeed; `fails COMMAND` succeeds if COMMAND fails, as `!` does not for `set -e`.
pub fn shell(command: &str) {
    const PRELUDE: &str =
        "fails() { if \"$@\" >/dev/null 2>&1; then echo \"should fail: $*\" >&2; exit 1; fi; }";
    let command = format!("{PRELUDE}\n{command}");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let status = Command::new("sh").args(["-ec", &command]).env("PATH", path).status().unwrap();
    assert!(status.success(), "{command}: {status}");
}

/// Where a thread of a test is.
pub enum Place {
    /// In the process's own network namespace, the "host".
    Host,
    /// In a new network namespace.
    New,
}

type Job = Box<dyn FnOnce(&Handle) + Send>;

/// A thread with a current-thread tokio runtime that is always driven, in a network namespace.
pub struct NetThread {
    /// Its runtime.
    pub handle: Handle,
    /// Its thread id, which `ip link set … netns` takes.
    pub tid: i32,
    jobs: tokio::sync::mpsc::UnboundedSender<Job>,
}

impl NetThread {
    pub fn spawn(place: Place) -> Self {
        let (jobs, mut todo) = tokio::sync::mpsc::unbounded_channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            if matches!(place, Place::New) {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            }
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            ready.send((runtime.handle().clone(), nix::unistd::gettid().as_raw())).unwrap();
            runtime.block_on(async {
                while let Some(job) = todo.recv().await {
                    job(&Handle::current());
                }
            });
        });
        let (handle, tid) = is_ready.recv().unwrap();
        Self { handle, tid, jobs }
    }

    /// Runs `work` on the thread and waits for its result. `work` must not block long: the runtime stands still.
    pub fn call<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, is_done) = mpsc::channel();
        self.jobs
            .send(Box::new(move |_| drop(result.send(work()))))
            .unwrap_or_else(|_| panic!("the thread has ended"));
        is_done.recv().expect("the work has panicked")
    }

    /// Runs a future on the thread and waits for its result.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (result, is_done) = mpsc::channel();
        self.handle.spawn(async move { drop(result.send(future.await)) });
        is_done.recv().expect("the future has panicked")
    }

    /// A shell command in the thread's namespace.
    pub fn shell(&self, command: &str) {
        let command = command.to_owned();
        self.call(move || shell(&command));
    }
}
