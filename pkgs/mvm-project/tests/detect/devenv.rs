//! devenv.nix as people write it.

use crate::support::*;
use mvm_project::project::{Certainty, Datum, Kind, PackageRef, Part, Template};

#[test]
fn packages_are_read_through_with_let_lists_and_concatenation() {
    let project = devenv(
        r#"{ pkgs, lib, inputs, ... }:
        let
          unstable = import inputs.nixpkgs-unstable { inherit (pkgs.stdenv) system; };
          extra = [ pkgs.ripgrep ] ++ lib.optionals pkgs.stdenv.isDarwin [ pkgs.libiconv ];
        in {
          packages = with pkgs; [ git nodePackages.pnpm (python3.withPackages (ps: [ ps.requests ])) ]
            ++ extra ++ lib.optional pkgs.stdenv.isLinux pkgs.inotify-tools ++ [ unstable.jq (lib.hiPrio pkgs.uutils) ]
            ++ (builtins.filter (p: p != null) [ null pkgs.fd ]);
        }"#,
    );
    all_known(&project);
    let expected = [
        "pkgs.git",
        "pkgs.nodePackages.pnpm",
        "pkgs.python3",
        "pkgs.ripgrep",
        "pkgs.inotify-tools",
        "inputs.nixpkgs-unstable.jq",
        "pkgs.uutils",
        "pkgs.fd",
    ];
    assert_eq!(packages(&project), expected);
    assert_eq!(project.facts.packages[2].package.changed.as_deref(), Some("withPackages"));
    assert_eq!(project.facts.packages[0].at.to_string(), "devenv.nix:6:35");
}

#[test]
fn services_have_their_settings_and_places() {
    let project = devenv(
        r#"{ pkgs, config, ... }: {
          services.postgres = {
            enable = true;
            package = pkgs.postgresql_16;
            listen_addresses = "127.0.0.1";
            port = 5433;
            extensions = ps: [ ps.postgis ];
            initialDatabases = [ { name = "app"; user = "ada"; pass = "it's"; } { name = "test"; } ];
            initialScript = ''
              CREATE ROLE reader;
            '';
            settings.max_connections = 20;
          };
          services.redis.enable = true;
          services.minio.enable = false;
          languages.python = { enable = true; version = "3.12"; uv.enable = true; };
          env.DATABASE_URL = "postgres://ada@localhost:${toString config.services.postgres.port}/app";
          env.REDIS = "redis://localhost:${toString config.services.redis.port}";
        }"#,
    );
    all_known(&project);
    assert_eq!(project.facts.services.len(), 2);
    let postgres = service(&project, "postgres");
    assert_eq!(postgres.at.line, 3);
    assert_eq!(setting(postgres, &["port"]), Some(Datum::Int(5433)));
    let script = setting(postgres, &["initialScript"]).unwrap().plain();
    assert_eq!(script.as_deref(), Some("CREATE ROLE reader;\n"));
    let Some(Datum::List(databases)) = setting(postgres, &["initialDatabases"]) else { panic!() };
    assert_eq!(databases[0].at(&["pass"]).and_then(Datum::plain).as_deref(), Some("it's"));
    let package = |attr: &[&str]| Datum::Package {
        package: PackageRef {
            attr: attr.iter().map(ToString::to_string).collect(),
            input: None,
            changed: None,
        },
    };
    assert_eq!(setting(postgres, &["package"]), Some(package(&["postgresql_16"])));
    assert_eq!(
        setting(postgres, &["extensions"]),
        Some(Datum::List(vec![package(&["postgresqlPackages", "postgis"])]))
    );
    assert_eq!(variable(&project, "DATABASE_URL").as_deref(), Some("postgres://ada@localhost:5433/app"));
    // Not set: devenv's default.
    assert_eq!(variable(&project, "REDIS").as_deref(), Some("redis://localhost:6379"));
    assert_eq!(project.facts.languages[0].name, "python");
}

#[test]
fn processes_have_command_place_variables_order_and_ports() {
    let project = devenv(
        r#"{ pkgs, lib, config, ... }: {
          processes = {
            web = {
              exec = "${pkgs.python3}/bin/python -m http.server ${toString config.processes.web.ports.http.value}";
              ports.http.allocate = 8080;
              cwd = "site";
              env.MODE = "dev";
            };
            worker = { exec = "${lib.getExe pkgs.watchexec} make"; after = [ "devenv:processes:web@ready" ]; };
            api = { exec = "make api"; process-compose.depends_on.postgres.condition = "process_healthy"; };
          };
          scripts.hello = { exec = "echo hello"; description = "greets"; };
          enterShell = "echo $GREET";
          name = "shop";
        }"#,
    );
    all_known(&project);
    assert_eq!(project.facts.name.as_deref(), Some("shop"));
    let [api, web, worker] = project.facts.processes.as_slice() else {
        panic!("{:?}", project.facts.processes)
    };
    assert_eq!(api.after, ["postgres"]);
    assert_eq!((web.cwd.as_deref(), web.ports["http"]), (Some("site"), 8080));
    assert_eq!(web.env["MODE"].plain().as_deref(), Some("dev"));
    let parts = &web.exec.as_ref().unwrap().0;
    assert!(matches!(&parts[0], Part::Package { package } if package.path() == "python3"));
    assert_eq!(parts[1], Part::Text("/bin/python -m http.server 8080".into()));
    assert!(matches!(&worker.exec.as_ref().unwrap().0[0], Part::Program { .. }));
    assert_eq!(worker.after, ["web"]);
    assert_eq!(project.facts.scripts[0].description.as_deref(), Some("greets"));
    assert_eq!(project.facts.enter_shell, Some(Template::text("echo $GREET")));
}

#[test]
fn modules_merge_by_condition_and_priority() {
    let project = detected(&[
        (
            "devenv.nix",
            r#"{ pkgs, lib, config, ... }: {
              imports = [ ./more.nix ./dir ];
              packages = [ pkgs.git ];
              env = lib.mkMerge [ { A = "default"; } (lib.mkIf (config.services.redis.enable) { B = "redis"; }) ];
              services.redis.enable = lib.mkDefault false;
            }"#,
        ),
        (
            "more.nix",
            r#"{ pkgs, lib, ... }: {
              options.ours.enable = lib.mkEnableOption "ours";
              config = {
                packages = [ pkgs.jq ];
                env.A = lib.mkForce "forced";
                env.C = lib.mkIf false "never";
              };
            }"#,
        ),
        ("dir/default.nix", r#"{ services.redis.enable = true; enterShell = "two"; }"#),
        ("devenv.local.nix", r#"{ enterShell = "one"; }"#),
    ]);
    all_known(&project);
    assert_eq!(packages(&project), ["pkgs.git", "pkgs.jq"]);
    assert_eq!(variable(&project, "A").as_deref(), Some("forced"));
    assert_eq!(variable(&project, "B").as_deref(), Some("redis"));
    assert_eq!(variable(&project, "C"), None);
    assert_eq!(service(&project, "redis").certainty, Certainty::Certain);
    let files: Vec<&str> = project.facts.sources.iter().map(|source| source.file.as_str()).collect();
    assert_eq!(files, ["devenv.nix", "devenv.local.nix", "more.nix", "dir/default.nix"]);
    assert_eq!(project.facts.enter_shell.unwrap().plain().as_deref(), Some("two\none"));
}

#[test]
fn devenv_yaml_imports_local_directories_and_names_other_inputs() {
    let project = detected(&[
        (
            "devenv.yaml",
            "inputs:\n  other:\n    url: github:o/r\nimports:\n- ./api\n- /shared/base.nix\n- other/sub\n",
        ),
        ("devenv.nix", "{ packages = [ ]; }"),
        ("api/devenv.nix", "{ languages.go.enable = true; }"),
        ("api/devenv.yaml", "imports: [ ../db, .. ]\n"),
        ("db/devenv.nix", "{ services.mysql.enable = true; }"),
        ("shared/base.nix", "{ env.BASE = 1; }"),
    ]);
    assert_eq!(project.kind, Kind::Devenv);
    assert_eq!(project.facts.languages[0].name, "go");
    assert_eq!(service(&project, "mysql").at.file, "db/devenv.nix");
    assert_eq!(variable(&project, "BASE").as_deref(), Some("1"));
    assert_eq!(unknowns(&project), ["imports (devenv.yaml:7): `other/sub` comes from an input"]);
}

#[test]
fn dotenv_is_named_and_its_values_stay_where_they_are() {
    let project = detected(&[
        ("devenv.nix", "{ dotenv.enable = true; }"),
        (".env", "# c\nexport TOKEN=hunter2\nEMPTY=\nnot a variable=1\n"),
    ]);
    assert_eq!(project.facts.env_files[0].names, ["TOKEN", "EMPTY"]);
    assert_eq!(project.facts.env_files[0].certainty, Certainty::Certain);
    assert!(!serde_json::to_string(&project).unwrap().contains("hunter2"));
}

#[test]
fn the_language_itself_is_followed() {
    let project = devenv(
        r#"{ pkgs, lib, config, ... }:
        let
          inherit (lib) concatStringsSep;
          ports = lib.listToAttrs (lib.imap0 (i: n: lib.nameValuePair n (3000 + i)) [ "a" "b" ]);
          fix = rec { x = 1; y = x + 1; };
          join = { sep ? ",", items }: concatStringsSep sep items;
          name = "dyn";
        in
        {
          env = {
            JOINED = join { items = [ "x" "y" ]; };
            PORT_B = ports.b;
            Y = fix.y;
            "${name}_KEY" = if fix ? x && !(fix ? z) then "yes" else "no";
            OR = fix.missing or "fallback";
            JSON = (builtins.fromJSON (builtins.readFile ./data.json)).key;
            MAPPED = lib.concatMapStringsSep "-" (n: lib.toUpper n) (builtins.attrNames ports);
            ROOT = config.devenv.root;
            FILE = ./data.json;
            PIPE = lib.pipe 1 [ (x: x + 1) toString ];
            NUM = 10 / 3 * 2 - 1;
            CMP = if 1 < 2 && "a" != "b" then "ok" else "bad";
          };
        }"#,
    );
    // data.json is not there: that alone is not known.
    assert_eq!(unknowns(&project).len(), 1, "{:?}", unknowns(&project));
    let get =
        |name: &str| variable(&project, name).unwrap_or_else(|| panic!("{name}: {:?}", project.facts.env));
    for (name, value) in [
        ("JOINED", "x,y"),
        ("PORT_B", "3001"),
        ("Y", "2"),
        ("dyn_KEY", "yes"),
        ("OR", "fallback"),
        ("MAPPED", "A-B"),
        ("ROOT", "/project"),
        ("FILE", "/project/data.json"),
        ("PIPE", "2"),
        ("NUM", "5"),
        ("CMP", "ok"),
    ] {
        assert_eq!(get(name), value, "{name}");
    }
}
