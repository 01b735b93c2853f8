//! The `.envrc` with the real `direnv`, in the shells that people use, and a stand-in for `mvm`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test says where")]

mod up;
mod world;

use world::{Vm, World, wait_for};

fn allowed(vm: Vm) -> World {
    let world = World::new(vm);
    world.ok("create-microvm-env", &["shop"]);
    world.ok("direnv", &["allow", "."]);
    world
}

/// What direnv would set, and what it says.
fn loaded(world: &World) -> (serde_json::Value, String) {
    let output = world.run("direnv", &["export", "json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (serde_json::from_slice(&output.stdout).unwrap(), said)
}

#[test]
fn direnv_loads_address_ports_and_variables_of_a_running_vm() {
    let world = allowed(Vm::Running);
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
    let world = allowed(Vm::Running);
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
fn a_vm_that_is_not_there_is_made_and_started() {
    let world = allowed(Vm::None);
    let (env, said) = loaded(&world);
    assert!(said.contains("VM shop runs"), "{said}");
    assert_eq!(env["REDIS_URL"], "redis://127.0.0.1:16379");
    assert!(world.calls().contains("create shop --project "), "{}", world.calls());
}

#[test]
fn a_start_that_takes_longer_than_a_prompt_can_wait_goes_on_in_the_background() {
    let world = allowed(Vm::None);
    std::fs::write(world.vm("slow"), "").unwrap();
    let (env, said) = loaded(&world);
    assert!(said.contains("in the background") && said.contains("start.log"), "{said}");
    assert_eq!(env["MICROVM_NAME"], "shop");
    assert_eq!(env.get("REDIS_URL"), None);
    std::fs::remove_file(world.vm("slow")).unwrap();
    let over = world.project().join(".direnv/microvm/start.over");
    wait_for("the start to be over", || over.exists());
    assert_eq!(loaded(&world).0["REDIS_URL"], "redis://127.0.0.1:16379");
}

#[test]
fn a_start_that_failed_is_said_once_with_its_log_and_tried_again_when_the_project_changes() {
    let world = allowed(Vm::None);
    std::fs::write(world.vm("broken"), "").unwrap();
    let (env, said) = loaded(&world);
    assert!(said.contains("VM shop did not start: can't start shop") && said.contains("start.log"), "{said}");
    assert_eq!(env["MICROVM_NAME"], "shop");
    let starts = || world.calls().lines().filter(|line| line.starts_with("start")).count();
    assert_eq!(starts(), 1);
    loaded(&world);
    assert_eq!(starts(), 1, "not at every prompt");
    std::fs::remove_file(world.vm("broken")).unwrap();
    let changed = std::fs::File::options().append(true).open(world.project().join("devenv.nix")).unwrap();
    changed.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5)).unwrap();
    assert!(loaded(&world).1.contains("VM shop runs"));
    assert_eq!(starts(), 2);
}

#[test]
fn without_starting_it_is_said_how() {
    let world = World::new(Vm::None);
    world.ok("create-microvm-env", &["shop", "--no-start"]);
    world.ok("direnv", &["allow", "."]);
    let (env, said) = loaded(&world);
    assert!(said.contains("there is no VM shop yet; to make it: mvm-devenv . shop"), "{said}");
    assert_eq!(env.get("REDIS_URL"), None);
    assert!(!world.calls().contains("create"));
}

#[test]
fn a_vm_of_another_project_is_not_taken_for_this_ones() {
    let world = allowed(Vm::Running);
    let status = std::fs::read_to_string(world.vm("running")).unwrap();
    std::fs::write(world.vm("running"), status.replace(world.project().to_str().unwrap(), "/other")).unwrap();
    let (env, said) = loaded(&world);
    assert!(said.contains("VM shop works on /other"), "{said}");
    assert_eq!(env.get("REDIS_URL"), None);
}

#[test]
fn a_running_vm_that_differs_from_its_project_is_said_to_be_outdated() {
    let world = allowed(Vm::Running);
    assert!(!loaded(&world).1.contains("outdated"));
    std::fs::write(world.project().join("devenv.nix"), "{ services.redis.enable = true; env.A = \"1\"; }")
        .unwrap();
    let (_, said) = loaded(&world);
    assert!(said.contains("VM shop is outdated: process web changed"), "{said}");
}

#[test]
fn the_file_is_written_once_keeps_other_lines_and_is_taken_out_again() {
    let world = World::new(Vm::Running);
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
    let world = World::new(Vm::Running);
    let path = world.project().join(".envrc");
    std::fs::write(world.vm("other"), "").unwrap();
    std::os::unix::fs::symlink(world.vm("other"), &path).unwrap();
    let refused = world.run("create-microvm-env", &[]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"), "{refused:?}");
    world.ok("create-microvm-env", &["--force"]);
    assert!(!path.is_symlink());
    assert_eq!(std::fs::read_to_string(world.vm("other")).unwrap(), "");
}
