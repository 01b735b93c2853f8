//! The `.envrc` with the real `direnv`, in the shells that people use, and a stand-in for `mvm`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What `mvm status` prints of a running VM, in part.
const RUNNING: &str = r#"{"name":"shop","status":"running","spec":{"network":{"address":"192.168.100.10/24"}},"forwards":[{"proto":"tcp","host":16379,"guest":6379,"state":"active"}]}"#;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A project in a directory with a difficult name, and an `mvm` that prints `status` or, without, knows no VM.
    fn new(status: Option<&str>) -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(world.project().join(".git")).unwrap();
        std::fs::create_dir_all(world.project().join("src")).unwrap();
        std::fs::create_dir_all(world.bin()).unwrap();
        std::fs::write(world.project().join("devenv.nix"), "{ services.redis.enable = true; }").unwrap();
        let answer = match status {
            Some(status) => format!("printf '%s' '{status}'"),
            None => "exit 1".to_owned(),
        };
        let mvm =
            format!("#!/bin/sh\ncase $1 in status) {answer} ;; *) printf '<%s>' \"$@\"; exit 7 ;; esac\n");
        let path = world.bin().join("mvm");
        std::fs::write(&path, mvm).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        for program in [env!("CARGO_BIN_EXE_mvm-devenv"), env!("CARGO_BIN_EXE_create-microvm-env")] {
            let name = Path::new(program).file_name().unwrap();
            std::os::unix::fs::symlink(program, world.bin().join(name)).unwrap();
        }
        world
    }

    /// direnv 2.32 itself puts the path between double quotes of a shell: with `"` or `$` in it nothing could be loaded.
    fn project(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("it's; (a) é & b")
    }

    fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    fn run(&self, program: &str, args: &[&str]) -> Output {
        Command::new(program)
            .args(args)
            .current_dir(self.project())
            .env_clear()
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.bin().display()))
            .env("HOME", self.dir.path())
            // fish takes no name with é for one in the C locale.
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap_or_else(|error| panic!("{program} (Debian's package of that name): {error}"))
    }

    fn ok(&self, program: &str, args: &[&str]) -> String {
        let output = self.run(program, args);
        assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn allowed(self) -> Self {
        self.ok("create-microvm-env", &["shop"]);
        self.ok("direnv", &["allow", "."]);
        self
    }
}

#[test]
fn direnv_loads_address_ports_and_variables_of_a_running_vm() {
    let world = World::new(Some(RUNNING)).allowed();
    let loaded: serde_json::Value = serde_json::from_str(&world.ok("direnv", &["export", "json"])).unwrap();
    assert_eq!(loaded["MICROVM_NAME"], "shop");
    assert_eq!(loaded["MICROVM_IP"], "192.168.100.10");
    assert_eq!(loaded["MICROVM_PROJECT"], world.project().to_str().unwrap());
    assert_eq!(loaded["MVM_PORT_REDIS"], "16379");
    assert_eq!(loaded["REDIS_URL"], "redis://127.0.0.1:16379");
    let watches = loaded["DIRENV_WATCHES"].as_str().unwrap();
    assert!(!watches.is_empty());
}

#[test]
fn vm_runs_commands_in_every_shell_with_their_exit_code() {
    let world = World::new(Some(RUNNING)).allowed();
    for shell in ["bash", "zsh", "fish"] {
        let output = world.run("direnv", &["exec", ".", shell, "-c", "cd src; vm npm 'run it'"]);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "<exec><shop><--workdir></project/src><--><npm><run it>",
            "{shell}"
        );
        assert_eq!(output.status.code(), Some(7), "{shell}");
    }
}

#[test]
fn a_vm_that_is_not_there_is_said_with_the_command_that_makes_it() {
    let world = World::new(None).allowed();
    let output = world.run("direnv", &["export", "json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("there is no VM shop yet; to make it: mvm create shop"),
        "{said}"
    );
    let loaded: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(loaded.get("REDIS_URL"), None);
    assert_eq!(loaded["MICROVM_NAME"], "shop");
}

#[test]
fn the_file_is_written_once_keeps_other_lines_and_is_taken_out_again() {
    let world = World::new(Some(RUNNING));
    let path = world.project().join(".envrc");
    std::fs::write(&path, "use devenv\n").unwrap();
    let said = world.run("create-microvm-env", &["shop"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("`use devenv` stays"));
    let once = std::fs::read_to_string(&path).unwrap();
    assert_eq!(world.ok("create-microvm-env", &["shop", "--print"]), once);
    world.ok("create-microvm-env", &["shop"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), once);
    assert!(once.contains("\nwatch_file ./devenv.nix\n"), "{once}");
    world.ok("create-microvm-env", &["--remove"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "use devenv\n");
}

#[test]
fn a_link_is_replaced_only_by_force() {
    let world = World::new(Some(RUNNING));
    let path = world.project().join(".envrc");
    std::fs::write(world.dir.path().join("other"), "").unwrap();
    std::os::unix::fs::symlink(world.dir.path().join("other"), &path).unwrap();
    let refused = world.run("create-microvm-env", &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"), "{refused:?}");
    world.ok("create-microvm-env", &["--force"]);
    assert!(!path.is_symlink());
    assert_eq!(std::fs::read_to_string(world.dir.path().join("other")).unwrap(), "");
}
