//! A project and a stand-in for `mvm`, which keeps its one VM in files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// What `mvm status` prints of a running VM, in part; `@PROJECT@` is put in.
const RUNNING: &str = r#"{"name":"shop","status":"running","state":{},"spec":{"project":{"path":"@PROJECT@"},"network":{"address":"192.168.100.10/24"}},"forwards":[{"proto":"tcp","host":16379,"guest":6379,"state":"active"}]}"#;

/// The stand-in. `start` takes until there is no file `slow`, and fails if there is a file `broken`.
const MVM: &str = r#"#!/bin/sh
home=${0%/*}/../vm
[ "$1" != --quiet ] || shift
printf '%s\n' "$*" >>"$home/calls"
case $1 in
  status) [ -e "$home/made" ] || { echo 'mvm: error: there is no VM `shop`; `mvm list` shows those there are' >&2; exit 1; }
    if [ -e "$home/runs" ]; then cat "$home/running"; else sed 's/running/stopped/' "$home/running"; fi ;;
  list) echo '[]' ;;
  create) cat >"$home/workload" && touch "$home/made" ;;
  workload)
    case $3 in
      --compare) cat >"$home/compared"
        if cmp -s "$home/compared" "$home/workload"; then echo '{"differences":[]}'; else echo '{"differences":["process web changed"]}'; fi ;;
      -) cat >"$home/workload" ;;
      *) cat "$home/workload" ;;
    esac ;;
  port) ;;
  start) while [ -e "$home/slow" ]; do sleep 0.05; done
    if [ -e "$home/broken" ]; then echo 'mvm: error: no kernel' >&2; exit 1; fi
    touch "$home/runs" ;;
  *) printf '<%s>' "$@"; exit 7 ;;
esac
"#;

/// How the VM is at first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Vm {
    None,
    Running,
}

pub struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A project in a directory with a difficult name.
    pub fn new(vm: Vm) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        for dir in [world.project().join(".git"), world.project().join("src"), world.bin(), world.vm("")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        std::fs::write(world.project().join("devenv.nix"), "{ services.redis.enable = true; }").unwrap();
        std::fs::write(world.vm("running"), RUNNING.replace("@PROJECT@", world.project().to_str().unwrap()))
            .unwrap();
        let mvm = world.bin().join("mvm");
        std::fs::write(&mvm, MVM).unwrap();
        std::fs::set_permissions(&mvm, std::fs::Permissions::from_mode(0o755)).unwrap();
        for program in [env!("CARGO_BIN_EXE_mvm-devenv"), env!("CARGO_BIN_EXE_create-microvm-env")] {
            let name = Path::new(program).file_name().unwrap();
            std::os::unix::fs::symlink(program, world.bin().join(name)).unwrap();
        }
        if vm == Vm::Running {
            let planned = world.ok("mvm-devenv", &["bring-up", "shop", ".", world.vm("").to_str().unwrap()]);
            assert_eq!(planned, "");
        }
        world
    }

    /// direnv 2.32 itself puts the path between double quotes of a shell: with `"` or `$` in it nothing could be loaded.
    pub fn project(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("it's; (a) é & b")
    }

    pub fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// A file of the stand-in.
    pub fn vm(&self, name: &str) -> PathBuf {
        self.dir.path().join("vm").join(name)
    }

    /// What `mvm` was called with, a line each.
    pub fn calls(&self) -> String {
        std::fs::read_to_string(self.vm("calls")).unwrap_or_default()
    }

    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        let path =
            std::env::join_paths([self.bin(), "/usr/local/bin".into(), "/usr/bin".into(), "/bin".into()]);
        // A program is looked for in the test's own search path.
        let own = self.bin().join(program);
        if own.exists() {
            use std::os::unix::process::CommandExt as _;
            command = Command::new(own);
            command.arg0(program);
        }
        command
            .args(args)
            .current_dir(self.project())
            .env_clear()
            .env("PATH", path.unwrap())
            .env("HOME", self.dir.path())
            // fish takes no name with é for one in the C locale.
            .env("LC_ALL", "C.UTF-8");
        command
    }

    pub fn run(&self, program: &str, args: &[&str]) -> Output {
        self.command(program, args)
            .output()
            .unwrap_or_else(|error| panic!("{program} (Debian's package of that name): {error}"))
    }

    #[track_caller]
    pub fn ok(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Waits for a condition.
#[track_caller]
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
