# The environment of a project in its guest: the options, and the file that `mvm-devenv` makes. tests/contract/project has a
# project with every service that is known, and what `mvm-devenv` prints of it (pkgs/mvm-project/tests/nixos compares).
{ lib, world, ... }:
let
  project = ../contract/project;
  host = settings: world.hosts.of settings [ ];
  guestOf = settings: world.guest (host { vms.shop = settings; }) "shop";

  printed =
    world.guest
      (world.evalHost [
        ../contract/project/declaration.nix
        { services.microvm-dev.enable = true; }
      ]).config
      "shop";
  read = guestOf {
    projectDir = "/srv/shop";
    autoConfigureDevenv = true;
    devenv.source = project;
  };

  many = host {
    vms = {
      own = {
        user.name = "dev";
        environment.LEVEL = "1";
        devenvPackages = [
          "jq"
          "python3Packages.requests"
          world.pkgs.hello
        ];
        devenvVariables.GREETING = "a 'b' \"c\" $HOME `d` 100%";
        processes = {
          first.exec = "make first";
          web = {
            exec = "npm run dev";
            after = [
              "first"
              "postgresql.service"
            ];
            environment.PORT = "3000";
            environmentFiles = [ "/project/.env" ];
            cwd = "/project/web";
            user = "nobody";
            restart = "always";
          };
        };
      };
      changed = {
        devenv.fromFile = project + "/microvm.json";
        enableDatabaseServices = false;
        devenvVariables.PGHOST = "db";
        processes.web.restart = "no";
        forwardPorts = [ ];
      };
      wrong = {
        devenv.fromFile = project + "/unknown-package.json";
        devenvPackages = [ "not.there" ];
        devenvVariables."A B" = "";
        processes = {
          "a b".exec = "true";
          web = {
            exec = "true";
            after = [ "database" ];
            environment."1" = "";
          };
        };
      };
    };
  };
  own = world.guest many "own";
  changed = world.guest many "changed";
  unit = world.ownLines own;
  has = guest: name: lib.any (package: lib.getName package == name) guest.environment.systemPackages;
in
{
  "what `mvm-devenv --nix` prints of every service can be built, without a warning" = {
    expr = {
      inherit (printed) warnings;
      builds = lib.hasSuffix ".drv" printed.system.build.toplevel.drvPath;
    };
    expected = {
      warnings = [ ];
      builds = true;
    };
  };

  "a guest from the file is the guest of the printed declaration" = {
    expr = read.system.build.toplevel.drvPath;
    expected = printed.system.build.toplevel.drvPath;
  };

  "services and processes of the file are units, and what a process waits for is there" = {
    expr = {
      missing = lib.filter (name: !read.systemd.units ? "${name}.service") [
        "apache-kafka"
        "caddy"
        "clickhouse"
        "elasticsearch"
        "influxdb2"
        "mailpit"
        "meilisearch"
        "memcached"
        "minio"
        "mongodb"
        "mysql"
        "nats"
        "nginx"
        "opensearch"
        "postgresql"
        "project-migrations"
        "project-web"
        "rabbitmq"
        "redis"
        "temporal"
        "varnish"
        "vault"
      ];
      inherit (read.systemd.services.project-web) after wants;
      inherit (read.systemd.services.project-web.serviceConfig) User WorkingDirectory;
    };
    expected = {
      missing = [ ];
      after = [
        "network.target"
        "project-migrations.service"
        "postgresql.service"
        "redis.service"
      ];
      wants = [
        "project-migrations.service"
        "postgresql.service"
        "redis.service"
      ];
      User = "root";
      WorkingDirectory = "/project/web";
    };
  };

  "forwards of the file are the VM's, unless it has its own" = {
    expr = lib.mapAttrs (_: vm: lib.length vm.forwardPorts) (
      (world.sketch {
        vms = {
          shop.devenv.fromFile = project + "/microvm.json";
          none = {
            devenv.fromFile = project + "/microvm.json";
            forwardPorts = [ ];
          };
          # Without the ten of databases.
          some = {
            devenv.fromFile = project + "/microvm.json";
            enableDatabaseServices = false;
          };
        };
      }).services.microvm-dev.vms
    );
    expected = {
      shop = 26;
      none = 0;
      some = 16;
    };
  };

  "a process is a unit with order, restart, user, directory and variables" = {
    expr = lib.filter (
      line:
      !lib.any (prefix: lib.hasPrefix prefix line) [
        "ExecStart="
        "X-"
      ]
    ) (lib.splitString "\n" (unit "project-web.service"));
    expected = [
      "[Unit]"
      "After=network.target project-first.service postgresql.service"
      "Description=Process web of the project"
      "RequiresMountsFor=/project"
      "StartLimitIntervalSec=0"
      "Wants=project-first.service postgresql.service"
      ""
      "[Service]"
      "EnvironmentFile=-/project/.env"
      "Restart=always"
      "RestartMaxDelaySec=30"
      "RestartSec=1"
      "RestartSteps=5"
      "User=nobody"
      "WorkingDirectory=/project/web"
      ""
      "[Install]"
      "WantedBy=multi-user.target"
      ""
    ];
  };

  "variables of the VM, of its project and of the process reach its unit as they are" = {
    expr = lib.getAttrs [
      "GREETING"
      "LEVEL"
      "PORT"
    ] own.systemd.services.project-web.environment;
    expected = {
      # `%%` is a `%` in a unit.
      GREETING = "a 'b' \"c\" $HOME `d` 100%%";
      LEVEL = "1";
      PORT = "3000";
    };
  };

  "and logins, where a shell reads them between double quotes" = {
    expr = lib.getAttrs [
      "GREETING"
      "LEVEL"
    ] own.environment.variables;
    expected = {
      GREETING = "a 'b' \\\"c\\\" \\$HOME \\`d\\` 100%";
      LEVEL = "1";
    };
  };

  "packages are on the search path of logins and processes, by name or as they are" = {
    expr = {
      all = map (has own) [
        "jq"
        "requests"
        "hello"
      ];
      path = lib.elem "/run/current-system/sw" own.systemd.services.project-web.path;
    };
    expected = {
      all = [
        true
        true
        true
      ];
      path = true;
    };
  };

  "without databases their services are not there, and all the others are" = {
    expr = {
      inherit (changed.services.postgresql) enable;
      mysql = changed.services.mysql.enable;
      redis = changed.systemd.units ? "redis.service";
      kafka = changed.services.apache-kafka.enable;
    };
    expected = {
      enable = false;
      mysql = false;
      redis = false;
      kafka = true;
    };
  };

  "what the VM says goes before what the file says, and the rest of it stays" = {
    expr = {
      variable = changed.environment.variables.PGHOST;
      other = changed.environment.variables.PGPORT;
      inherit (changed.systemd.services.project-web.serviceConfig) Restart WorkingDirectory;
    };
    expected = {
      variable = "db";
      other = "5432";
      Restart = "no";
      WorkingDirectory = "/project/web";
    };
  };

  "a guest refuses packages that nixpkgs does not have, and names and variables that are none" = {
    expr = map (lib.replaceStrings [ (toString project) ] [ "PROJECT" ]) (
      world.failed (world.guest many "wrong")
    );
    expected = [
      "microvm-dev: VM `wrong`: `devenv.fromFile`: PROJECT/unknown-package.json wants the package `no-such-package`, which the guest's nixpkgs does not have; add it by an overlay in `guestConfig.nixpkgs.overlays`, or take it out of the project and make the file anew."
      "microvm-dev: VM `wrong`: `devenv.fromFile`: PROJECT/unknown-package.json wants the package `postgresql_99`, which the guest's nixpkgs does not have; add it by an overlay in `guestConfig.nixpkgs.overlays`, or take it out of the project and make the file anew."
      "microvm-dev: VM `wrong`: `devenvPackages` has `not.there`, which the guest's nixpkgs does not have; write its attribute path (`nix search nixpkgs`), or give the package itself."
      "microvm-dev: VM `wrong`: `devenvVariables` has `A B`, which is no variable name; use [A-Za-z_][A-Za-z0-9_]*."
      "microvm-dev: VM `wrong`: `processes` has `a b`, which is no unit name; use [A-Za-z0-9_.-]+."
      "microvm-dev: VM `wrong`: `processes.web.environment` has `1`, which is no variable name; use [A-Za-z_][A-Za-z0-9_]*."
      "microvm-dev: VM `wrong`: `processes.web.after` has `database`, which is no other process of `processes`; name one, or a unit with its ending, `database.service`."
    ];
  };
}
