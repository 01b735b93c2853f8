//! `mvm-devenv` itself.

use crate::world::{Vm, World};

#[test]
fn a_plan_changes_nothing_and_without_a_terminal_nothing_is_done_unasked() {
    let world = World::new(Vm::None);
    for args in [&["--plan"][..], &["--json"], &["--nix"]] {
        world.ok("mvm-devenv", args);
    }
    assert_eq!(world.calls(), "");
    let refused = world.run("mvm-devenv", &[".", "shop"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("--yes would make and start shop"), "{said}");
    assert!(String::from_utf8(refused.stdout).unwrap().contains("service    redis"));
    assert!(!world.calls().contains("create"), "{}", world.calls());
}

#[test]
fn a_vm_is_made_started_and_said_how_to_reach_and_a_second_time_nothing_changes() {
    let world = World::new(Vm::None);
    let said = world.ok("mvm-devenv", &[".", "shop", "--yes", "--no-wait"]);
    assert!(said.contains("redis  localhost:16379") && said.contains("$MVM_PORT_REDIS"), "{said}");
    let made = |call: &str| world.calls().lines().filter(|line| line.starts_with(call)).count();
    assert_eq!((made("create"), made("start")), (1, 1));
    let again = world.ok("mvm-devenv", &[".", "shop", "--no-wait"]);
    assert!(again.contains("runs, as planned"), "{again}");
    assert_eq!((made("create"), made("start"), made("port")), (1, 1, 0));
}

#[test]
fn what_changed_in_the_project_is_applied_to_the_vm_there_is() {
    let world = World::new(Vm::Running);
    let text = "{ services.redis.enable = true; processes.web = { exec = \"serve\"; ports.http.allocate = 3999; }; }";
    std::fs::write(world.project().join("devenv.nix"), text).unwrap();
    world.ok("mvm-devenv", &[".", "shop", "--yes", "--no-wait"]);
    let calls = world.calls();
    assert!(calls.contains("port shop 3999:3999\n") && calls.contains("workload shop -\n"), "{calls}");
    assert!(std::fs::read_to_string(world.vm("workload")).unwrap().contains("\"serve\""));
}

#[test]
fn a_port_that_is_taken_is_replaced_by_a_free_one() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = World::new(Vm::None);
    let text = format!("{{ processes.web = {{ exec = \"serve\"; ports.http.allocate = {port}; }}; }}");
    std::fs::write(world.project().join("devenv.nix"), text).unwrap();
    world.ok("mvm-devenv", &[".", "shop", "--yes", "--no-wait"]);
    assert!(world.calls().contains(&format!("--port 0:{port}\n")), "{}", world.calls());
}

#[test]
fn what_is_missing_on_the_host_is_said_with_its_package() {
    let world = World::new(Vm::None);
    std::fs::write(world.project().join("devenv.nix"), "{ services.rabbitmq.enable = true; }").unwrap();
    let said = world.ok("mvm-devenv", &["--plan"]);
    // A host that has it says nothing.
    let has = ["/usr/sbin/rabbitmq-server", "/usr/bin/rabbitmq-server"]
        .iter()
        .any(|path| std::fs::exists(path).unwrap());
    assert_eq!(said.contains("apt-get install rabbitmq-server"), !has, "{said}");
}
