//! Projects without Nix.

use crate::support::*;
use mvm_project::project::{Certainty, Datum, Kind};

#[test]
fn a_node_project() {
    let project = detected(&[
        ("package.json", r#"{ "engines": { "node": ">=20" }, "scripts": { "dev": "vite --port 5173" } }"#),
        ("pnpm-lock.yaml", ""),
    ]);
    all_known(&project);
    assert_eq!(project.kind, Kind::Hints);
    assert_eq!(packages(&project), ["pkgs.nodejs", "pkgs.pnpm"]);
    let web = &project.facts.processes[0];
    assert_eq!(web.exec.as_ref().unwrap().plain().as_deref(), Some("pnpm run dev"));
    assert_eq!((web.ports["main"], web.certainty), (5173, Certainty::Likely));
    assert_eq!(setting(&project.facts.languages[0], &["version"]).unwrap().plain().as_deref(), Some(">=20"));
}

#[test]
fn other_toolchains() {
    for (files, expected) in [
        (
            vec![("Cargo.toml", "[package]\nname = \"x\"\nrust-version = \"1.80\"\n")],
            ("rust", Some("1.80"), "pkgs.cargo"),
        ),
        (vec![("go.mod", "module x\n\ngo 1.23\n")], ("go", Some("1.23"), "pkgs.go")),
        (vec![("Gemfile", "ruby '3.3.0'\n")], ("ruby", Some("3.3.0"), "pkgs.ruby")),
        (
            vec![("pyproject.toml", "[project]\nrequires-python = \">=3.11\"\n"), ("uv.lock", "")],
            ("python", Some(">=3.11"), "pkgs.uv"),
        ),
        (vec![("requirements.txt", "flask\n")], ("python", None, "pkgs.python3")),
    ] {
        let project = detected(&files);
        all_known(&project);
        let (language, version, package) = expected;
        assert_eq!(project.facts.languages[0].name, language);
        let found = setting(&project.facts.languages[0], &["version"]).and_then(|datum| datum.plain());
        assert_eq!(found.as_deref(), version, "{language}");
        assert!(packages(&project).contains(&package.to_owned()), "{:?}", packages(&project));
    }
    let linter = detected(&[("pyproject.toml", "[tool.ruff]\nline-length = 100\n")]);
    assert!(linter.facts.languages.is_empty(), "a linter's settings make no Python project");
}

#[test]
fn compose_services_are_known_by_their_images() {
    let project = detected(&[(
        "docker-compose.yml",
        "x-env: &env\n  POSTGRES_PASSWORD: s3cret\nservices:\n  db:\n    image: docker.io/library/postgres:16-alpine\n    environment:\n      <<: *env\n      POSTGRES_DB: app\n      POSTGRES_USER: ada\n  cache:\n    image: valkey/valkey:8\n  app:\n    build: .\n  odd:\n    image: acme/odd@sha256:00\n",
    )]);
    let postgres = service(&project, "postgres");
    assert_eq!((postgres.certainty, postgres.at.line), (Certainty::Likely, 5));
    assert_eq!(setting(postgres, &["version"]).unwrap().plain().as_deref(), Some("16"));
    let Some(Datum::List(databases)) = setting(postgres, &["initialDatabases"]) else { panic!() };
    assert_eq!(databases[0].at(&["user"]).and_then(Datum::plain).as_deref(), Some("ada"));
    assert_eq!(databases[0].at(&["pass"]).and_then(Datum::plain).as_deref(), Some("s3cret"));
    assert_eq!(service(&project, "redis").name, "redis");
    let notes: Vec<_> = project.facts.notes.iter().map(|note| (note.at.line, note.text.as_str())).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].1.starts_with("service app is built") && notes[1].1.contains("acme/odd"), "{notes:?}");
}

#[test]
fn a_procfile_has_a_process_a_line() {
    let project = detected(&[(
        "Procfile",
        "# c\nweb: python3 -m http.server $PORT\nrelease: migrate\n\nworker:  run worker\nnonsense\n",
    )]);
    let names: Vec<_> = project.facts.processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(names, ["web", "worker"]);
    assert_eq!(project.facts.notes[0].at.to_string(), "Procfile:6:1");
}

#[test]
fn processes_of_a_procfile_have_the_ports_that_foreman_gives_them() {
    let project = detected(&[(
        "Procfile",
        "worker: run\nweb: serve\napi: serve -p $PORT\nother: serve --port 8080\nquiet: run\n",
    )]);
    let ports: Vec<_> =
        project.facts.processes.iter().map(|process| process.ports.get("main").copied()).collect();
    assert_eq!(ports, [None, Some(5100), Some(5200), Some(8080), None]);
    let variables: Vec<_> =
        project.facts.processes.iter().map(|process| process.env["PORT"].plain().unwrap()).collect();
    assert_eq!(variables, ["5000", "5100", "5200", "5300", "5400"]);
}

#[test]
fn an_empty_directory_says_so() {
    let project = detected(&[]);
    assert_eq!(project.kind, Kind::None);
    all_known(&project);
}
