//! The table as a whole.

use super::*;
use crate::project::{Datum, Template};
use std::collections::BTreeMap;
use std::process::Command as Process;

fn text(text: &str) -> Datum {
    Datum::Text(Template::text(text))
}

fn set(entries: Vec<(&str, Datum)>) -> BTreeMap<String, Datum> {
    entries.into_iter().map(|(name, datum)| (name.to_owned(), datum)).collect()
}

/// Every string that a project can put into a command is hostile.
const HOSTILE: &str = "a'\"$(exit 3)`exit 4`\\\n; exit 5; #";

fn hostile() -> BTreeMap<String, Datum> {
    let databases = Datum::List(vec![Datum::Set(set(vec![
        ("name", text(HOSTILE)),
        ("user", text(HOSTILE)),
        ("pass", text(HOSTILE)),
        ("initialSQL", text(HOSTILE)),
        ("schema", text(HOSTILE)),
    ]))]);
    let list = || Datum::List(vec![text(HOSTILE)]);
    let named = || {
        Datum::Set(set(vec![
            (HOSTILE, text(HOSTILE)),
            ("enable", Datum::Bool(true)),
            ("extraConfig", text(HOSTILE)),
        ]))
    };
    let mut all = set(vec![
        ("initialDatabases", databases),
        ("settings", named()),
        ("virtualHosts", Datum::Set(set(vec![("x", named())]))),
    ]);
    for name in [
        "initialScript",
        "extraConfig",
        "httpConfig",
        "config",
        "vcl",
        "accessKey",
        "secretKey",
        "region",
        "memorySize",
        "logLevel",
        "environment",
        "cluster_name",
    ] {
        all.insert(name.to_owned(), text(HOSTILE));
    }
    for name in ["initdbArgs", "startArgs", "additionalArgs", "plugins", "namespaces", "buckets"] {
        all.insert(name.to_owned(), list());
    }
    let authorization =
        set(vec![("enable", Datum::Bool(true)), ("user", text(HOSTILE)), ("password", text(HOSTILE))]);
    all.insert("authorization".to_owned(), Datum::Set(authorization));
    all.insert("configItems".to_owned(), named());
    all
}

#[test]
fn each_service_is_found_by_its_name_and_no_two_share_an_image() {
    let mut images: Vec<&str> = Vec::new();
    for mapping in ALL {
        assert_eq!(find(mapping.name).map(|found| found.name), Some(mapping.name));
        assert!(!mapping.ports.is_empty() && !mapping.program.is_empty(), "{}", mapping.name);
        images.extend(mapping.images);
    }
    let count = images.len();
    images.sort_unstable();
    images.dedup();
    assert_eq!(images.len(), count);
    assert_eq!(by_image("valkey"), Some("redis"));
    assert_eq!(by_image("nothing"), None);
}

#[test]
fn commands_are_shell_whatever_the_project_says() {
    let hostile = hostile();
    for mapping in ALL {
        for settings in [Settings::defaults(mapping), Settings::new(mapping, &hostile)] {
            let command = (mapping.run)(&settings).command;
            assert!(command.exec.contains("exec "), "{}", mapping.name);
            for script in [&command.prepare, &command.exec, &command.ready, &command.setup] {
                let checked = Process::new("sh").args(["-n", "-c", script]).output().unwrap();
                assert!(
                    checked.status.success(),
                    "{}: {script}\n{}",
                    mapping.name,
                    String::from_utf8_lossy(&checked.stderr)
                );
            }
        }
    }
}

#[test]
fn nothing_of_the_project_is_executed_by_a_command() {
    // Every program is a function that prints its arguments and succeeds: an exit code of 3, 4 or 5 is an injection.
    let hostile = hostile();
    for mapping in ALL {
        let command = (mapping.run)(&Settings::new(mapping, &hostile)).command;
        for script in [&command.prepare, &command.setup] {
            let dir = tempfile::tempdir().unwrap();
            let stub = "#!/bin/sh\ncat >/dev/null\n";
            for program in ["initdb", "psql", "mariadb", "mariadb-install-db", "kafka-storage.sh"] {
                let path = dir.path().join(program);
                std::fs::write(&path, stub).unwrap();
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            }
            // The data's directory, which the programs would have made.
            std::fs::create_dir(dir.path().join("data")).unwrap();
            let script = script.replace("rm -rf \"$data\"", ":");
            let output = Process::new("sh")
                .args(["-euc", &script])
                .env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()))
                .env("STATE_DIRECTORY", dir.path())
                .env("RUNTIME_DIRECTORY", dir.path())
                .stdin(std::process::Stdio::null())
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}: {script}\n{}",
                mapping.name,
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn options_are_nix_whatever_the_project_says() {
    let hostile = hostile();
    for mapping in ALL {
        for settings in [Settings::defaults(mapping), Settings::new(mapping, &hostile)] {
            for (path, value) in (mapping.run)(&settings).options {
                let path: Vec<String> = path.iter().map(|name| crate::nix::value::attribute(name)).collect();
                let code = format!("{{ {} = {}; }}", path.join("."), value.code(0));
                let parsed = rnix::Root::parse(&code);
                assert!(parsed.errors().is_empty(), "{code}: {:?}", parsed.errors());
            }
        }
    }
}

#[test]
fn ports_follow_the_settings_and_are_missing_when_unknown() {
    let unknown = || Datum::Unknown { unknown: "why".to_owned() };
    for (service, settings, expected) in [
        ("postgres", set(vec![("port", Datum::Int(5433))]), Some(5433)),
        ("postgres", set(vec![("port", unknown())]), None),
        ("minio", set(vec![("listenAddress", text("127.0.0.1:9100"))]), Some(9100)),
        ("varnish", set(vec![("listen", text(":81"))]), Some(81)),
        (
            "nginx",
            set(vec![("httpConfig", text("server {\n  listen 127.0.0.1:8081 default_server;\n}"))]),
            Some(8081),
        ),
        (
            "caddy",
            set(vec![(
                "virtualHosts",
                Datum::Set(set(vec![("http://localhost:8000", Datum::Set(BTreeMap::new()))])),
            )]),
            Some(8000),
        ),
        ("redis", BTreeMap::new(), Some(6379)),
    ] {
        let mapping = find(service).unwrap();
        let read = Settings::new(mapping, &settings);
        assert_eq!(read.ports().get(mapping.ports[0].label).copied(), expected, "{service}");
        assert_eq!(read.remarks().is_empty(), expected.is_some(), "{service}: {:?}", read.remarks());
    }
}

#[test]
fn postgres_is_set_up_as_devenv_does_it() {
    let database = set(vec![("name", text("app")), ("user", text("ada")), ("pass", text("it's"))]);
    let settings = set(vec![
        ("initialDatabases", Datum::List(vec![Datum::Set(database)])),
        ("initialScript", text("SELECT 1;")),
    ]);
    let mapping = find("postgres").unwrap();
    let run = (mapping.run)(&Settings::new(mapping, &settings));
    insta::assert_snapshot!(format!(
        "{}\n\n{}\n\n{}\n\n{}",
        run.command.prepare, run.command.exec, run.command.ready, run.command.setup
    ));
    let ports = BTreeMap::from([("main".to_owned(), 15432)]);
    let variables = with_ports(&run.variables, &ports);
    assert_eq!(variables["DATABASE_URL"], "postgres://ada:it%27s@127.0.0.1:15432/app");
    assert_eq!(with_ports(&run.variables, &BTreeMap::new()).get("PGPORT"), None);
}
