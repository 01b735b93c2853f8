//! Watching projects, with the kernel's inotify.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod cli;
#[path = "../direnv/world.rs"]
#[allow(dead_code, reason = "shared with the tests of direnv, which need more of it")]
mod world;

use mvm_project::project::Project;
use mvm_project::watch::{OnChange, Then, watch};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// Says the names of a project's services whenever they are looked at, and waits for leave to go on.
struct Teller {
    services: Sender<String>,
    leave: Receiver<Then>,
    troubles: Sender<String>,
}

impl OnChange for Teller {
    fn changed(&mut self, project: &Project) -> anyhow::Result<Then> {
        let names: Vec<&str> = project.facts.services.iter().map(|service| service.name.as_str()).collect();
        self.services.send(names.join(" "))?;
        Ok(self.leave.recv()?)
    }

    fn trouble(&mut self, error: &anyhow::Error) {
        let _ = self.troubles.send(error.to_string());
    }
}

struct Watched {
    _dir: tempfile::TempDir,
    top: PathBuf,
    services: Receiver<String>,
    leave: Sender<Then>,
    troubles: Receiver<String>,
    stop: Option<std::io::PipeWriter>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Watched {
    /// A project with these files, in the directory `project` of `top`.
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let project = top.join("project");
        std::fs::create_dir_all(project.join(".git")).unwrap();
        for (name, text) in files {
            put(&project.join(name), text);
        }
        let (services_sent, services) = channel();
        let (troubles_sent, troubles) = channel();
        let (leave, leave_given) = channel();
        let (stopped, stop) = std::io::pipe().unwrap();
        let thread = std::thread::spawn(move || {
            let mut teller = Teller { services: services_sent, leave: leave_given, troubles: troubles_sent };
            watch(&project, stopped.as_fd(), &mut teller)
        });
        Self { _dir: dir, top, services, leave, troubles, stop: Some(stop), thread: Some(thread) }
    }

    fn project(&self, name: &str) -> PathBuf {
        self.top.join("project").join(name)
    }

    /// The services of the next change; the watcher is held.
    #[track_caller]
    fn held(&self) -> String {
        self.services.recv_timeout(DEADLINE).expect("waited for a change to be seen")
    }

    /// The services of the next change; the watcher goes on.
    #[track_caller]
    fn next(&self) -> String {
        let services = self.held();
        self.leave.send(Then::GoOn).unwrap();
        services
    }

    /// Reads on until a change shows these services: one that a half-written file shows may come before.
    #[track_caller]
    fn until(&self, services: &str) {
        while self.next() != services {}
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn with(services: &[&str]) -> String {
    let lines: String = services.iter().map(|name| format!("services.{name}.enable = true; ")).collect();
    format!("{{ {lines}}}")
}

#[test]
fn a_file_that_is_written_replaced_or_removed_is_seen() {
    let watched = Watched::new(&[("devenv.nix", &with(&["redis"]))]);
    assert_eq!(watched.next(), "redis");
    put(&watched.project("devenv.nix"), &with(&["nats"]));
    watched.until("nats");
    // As editors do it.
    put(&watched.project(".devenv.nix.swp"), &with(&["vault"]));
    std::fs::rename(watched.project(".devenv.nix.swp"), watched.project("devenv.nix")).unwrap();
    watched.until("vault");
    put(&watched.project("4913"), &with(&["kafka"]));
    std::fs::rename(watched.project("devenv.nix"), watched.project("devenv.nix~")).unwrap();
    std::fs::rename(watched.project("4913"), watched.project("devenv.nix")).unwrap();
    watched.until("kafka");
    std::fs::remove_file(watched.project("devenv.nix")).unwrap();
    watched.until("");
}

#[test]
fn what_says_nothing_new_is_not_told() {
    let watched = Watched::new(&[("devenv.nix", &with(&["redis"]))]);
    assert_eq!(watched.next(), "redis");
    put(&watched.project("notes.txt"), "x");
    // The same with another time.
    put(&watched.project("devenv.nix"), &with(&["redis"]));
    put(&watched.project("devenv.nix"), &with(&["redis", "nats"]));
    let mut seen = watched.next();
    while seen.is_empty() {
        seen = watched.next();
    }
    assert_eq!(seen, "nats redis");
}

#[test]
fn files_elsewhere_are_watched_from_when_they_are_mentioned() {
    let watched = Watched::new(&[("devenv.nix", "{ imports = [ ./a/b.nix ]; }")]);
    watched.next();
    put(&watched.project("a/b.nix"), &with(&["redis"]));
    watched.until("redis");
    put(&watched.project("a/b.nix"), &with(&["nats"]));
    watched.until("nats");
    // A nearer file that governs from now on.
    put(&watched.project("devenv.nix"), "{ imports = [ ./c ]; }");
    put(&watched.project("c/default.nix"), &with(&["vault"]));
    watched.until("vault");
}

#[test]
fn directories_may_be_moved_deleted_and_made_again() {
    let watched =
        Watched::new(&[("devenv.nix", "{ imports = [ ./a/b.nix ]; }"), ("a/b.nix", &with(&["redis"]))]);
    assert_eq!(watched.next(), "redis");
    std::fs::rename(watched.project("a"), watched.project("gone")).unwrap();
    watched.until("");
    put(&watched.project("a/b.nix"), &with(&["nats"]));
    watched.until("nats");
    std::fs::remove_dir_all(watched.project("a")).unwrap();
    watched.until("");
    std::fs::rename(watched.project("gone"), watched.project("a")).unwrap();
    watched.until("redis");
    // The project itself.
    std::fs::rename(watched.project(""), watched.top.join("moved")).unwrap();
    watched.troubles.recv_timeout(DEADLINE).expect("waited for word that the project is gone");
    std::fs::rename(watched.top.join("moved"), watched.project("")).unwrap();
    watched.until("redis");
    std::fs::remove_dir_all(watched.project("")).unwrap();
    watched.troubles.recv_timeout(DEADLINE).expect("waited for word that the project is gone");
    put(&watched.project("devenv.nix"), &with(&["vault"]));
    watched.until("vault");
}

#[test]
fn more_events_than_the_kernel_keeps_hide_no_change() {
    let watched = Watched::new(&[("devenv.nix", &with(&["redis"]))]);
    assert_eq!(watched.held(), "redis");
    // The watcher waits for us: its queue fills with what does not matter, and the change that does is dropped.
    let most: usize =
        std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    for number in 0..=most {
        std::fs::File::create(watched.top.join(number.to_string())).unwrap();
    }
    put(&watched.project("devenv.nix"), &with(&["nats"]));
    watched.leave.send(Then::GoOn).unwrap();
    watched.until("nats");
}

#[test]
fn it_ends_when_there_is_nothing_left_to_watch_for() {
    let mut watched = Watched::new(&[("devenv.nix", &with(&["redis"]))]);
    watched.held();
    watched.leave.send(Then::Stop).unwrap();
    watched.thread.take().unwrap().join().unwrap().unwrap();
    watched.thread = Some(std::thread::spawn(|| Ok(())));
}
