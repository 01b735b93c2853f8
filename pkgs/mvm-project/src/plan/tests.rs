//! Plans of whole projects.

use super::*;
use crate::detect::detect;
use crate::envrc::exports;
use crate::vm::VmStatus;

const DEVENV: &str = r#"{ pkgs, lib, config, ... }: {
  packages = [ pkgs.git pkgs.jq (lib.mkIf config.custom.flag pkgs.hello) ];
  languages.javascript = { enable = true; pnpm.enable = true; };
  services.redis.enable = true;
  services.couchdb.enable = true;
  services.postgres = {
    enable = true;
    port = 5433;
    initialDatabases = [ { name = "app"; user = "ada"; pass = "pw"; } ];
  };
  processes.web = { exec = "${pkgs.nodejs}/bin/node server.js --greet \"$NAME\""; ports.http.allocate = 3000; after = [ "devenv:processes:postgres" ]; };
  processes.admin = { exec = "serve"; ports.http.allocate = 80; };
  processes.second = { exec = "serve"; ports.a.allocate = 3000; };
  processes.lost.exec = config.custom.command;
  env = { NAME = "a 'b' ${"$"}{c}\nd"; TOOL = "${pkgs.jq}/bin/jq"; GONE = config.custom.value; };
}"#;

fn planned(text: &str) -> Plan {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".git")).unwrap();
    std::fs::write(dir.path().join("devenv.nix"), text).unwrap();
    let mut project = detect(dir.path()).unwrap();
    project.root = "/home/ada/src/shop".into();
    plan(&project, default_name(&project))
}

#[test]
fn the_plan_is_what_the_project_says_and_names_the_rest() {
    insta::assert_snapshot!(show(&planned(DEVENV)));
}

#[test]
fn the_declaration_is_nix_with_everything_in_its_place() {
    let text = declaration(&planned(DEVENV));
    insta::assert_snapshot!(text);
    let parsed = rnix::Root::parse(&format!("{{ {text} }}"));
    assert!(parsed.errors().is_empty(), "{:?}", parsed.errors());
}

#[test]
fn a_process_that_is_not_known_whole_is_not_started() {
    let plan = planned(DEVENV);
    let names: Vec<&str> = plan.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["admin", "second", "web"]);
    assert_eq!(plan.processes[2].exec, "node server.js --greet \"$NAME\"");
    assert!(plan.unknowns.iter().any(|one| one.what.contains("processes.lost")), "{:#?}", plan.unknowns);
    assert!(
        plan.notes.iter().any(|note| note.text.contains("couchdb is not known here")),
        "{:#?}",
        plan.notes
    );
}

#[test]
fn ports_of_root_and_ports_that_two_want_are_dealt_with() {
    let plan = planned(DEVENV);
    let forward = |label: &str| plan.forwards.iter().find(|one| one.label == label).unwrap();
    assert_eq!((forward("admin").forward.host, forward("admin").forward.guest), (0, 80));
    assert_eq!(forward("admin").variable, "MVM_PORT_ADMIN");
    assert_eq!(plan.forwards.iter().filter(|one| one.forward.guest == 3000).count(), 1);
    assert!(plan.notes.iter().any(|note| note.text.contains("both want port 3000")), "{:#?}", plan.notes);
}

#[test]
fn a_port_that_is_not_known_is_not_forwarded() {
    let plan =
        planned("{ config, ... }: { services.redis = { enable = true; port = config.custom.port; }; }");
    assert_eq!(plan.forwards, []);
    assert!(
        plan.notes.iter().any(|note| note.text.contains("services.redis.port is not known")),
        "{:#?}",
        plan.notes
    );
    assert!(!plan.env.contains_key("REDIS_URL"));
}

#[test]
fn shells_on_the_host_learn_the_ports_that_the_vm_really_has() {
    let plan = planned(DEVENV);
    let status: VmStatus = serde_json::from_str(
        r#"{ "status": "running", "spec": { "network": { "address": "192.168.100.10/24" } },
             "forwards": [ { "proto": "tcp", "host": 15433, "guest": 5433, "state": "active" },
                           { "proto": "tcp", "host": 40001, "guest": 80, "state": "active" } ] }"#,
    )
    .unwrap();
    assert_eq!(
        exports(&plan, Some(&status)),
        "export DATABASE_URL=postgres://ada:pw@127.0.0.1:15433/app\n\
         export MICROVM_IP=192.168.100.10\n\
         export MICROVM_PROJECT=/home/ada/src/shop\n\
         export MVM_PORT_ADMIN=40001\n\
         export MVM_PORT_POSTGRES=15433\n\
         export PGHOST=127.0.0.1\n\
         export PGPORT=15433\n"
    );
    assert_eq!(exports(&plan, None), "export MICROVM_PROJECT=/home/ada/src/shop\n");
}

#[test]
fn the_workload_has_services_first_and_processes_that_wait_for_them() {
    let plan = planned(DEVENV);
    let workload = workload(&plan, &|service| service.name != "redis").unwrap();
    let names: Vec<&str> = workload.processes.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["postgres", "redis", "admin", "second", "web"]);
    let process = |name: &str| workload.processes.iter().find(|one| one.name == name).unwrap();
    assert_eq!(process("web").after, ["postgres"], "as the project says");
    assert_eq!(process("admin").after, ["postgres"], "what can't start is not waited for");
    assert_eq!(process("postgres").package.as_deref(), Some("postgresql"));
    assert!(process("postgres").refuses_root);
    assert_eq!(workload.environment["PGPORT"], "5433");
}

#[test]
fn processes_with_names_of_services_and_odd_ones_have_names_of_their_own() {
    let plan = planned(
        "{ services.redis.enable = true; processes.redis.exec = \"a\"; processes.\"a b\".exec = \"b\"; processes.\"a/b\".exec = \"c\"; }",
    );
    let workload = workload(&plan, &|_| true).unwrap();
    let names: Vec<&str> = workload.processes.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["redis", "a-b", "a-b-2", "redis-2"]);
}

#[test]
fn a_circle_of_processes_is_an_error_that_names_one() {
    let plan = planned(
        "{ processes.a = { exec = \"a\"; after = [ \"devenv:processes:b\" ]; }; processes.b = { exec = \"b\"; after = [ \"devenv:processes:a\" ]; }; }",
    );
    let error = workload(&plan, &|_| true).unwrap_err().to_string();
    assert!(error.contains("waits for itself"), "{error}");
}
