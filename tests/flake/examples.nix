# Each example with a vm.nix, all on one host, where they get on with each other.
{ lib, world, ... }:
let
  folder = ../../examples;
  declared = lib.filter (name: builtins.pathExists (folder + "/${name}/vm.nix")) (
    lib.attrNames (builtins.readDir folder)
  );
  config =
    (world.evalHost (
      [ { services.microvm-dev.enable = true; } ] ++ map (name: folder + "/${name}/vm.nix") declared
    )).config;
  guest = name: config.microvm.vms.${name}.config.config;
  inherit (config.services.microvm-dev) specs vms;
in
{
  "the examples for NixOS declare these VMs" = {
    expr = {
      examples = declared;
      vms = lib.attrNames vms;
    };
    expected = {
      examples = [
        "database"
        "multi-service"
        "nodejs"
        "python-django"
      ];
      vms = [
        "database"
        "django"
        "links"
        "links-db"
        "nodejs"
      ];
    };
  };

  "a host with all of them can be built, without a warning" = {
    expr = {
      failed = map (assertion: assertion.message) (
        lib.filter (assertion: !assertion.assertion) config.assertions
      );
      inherit (config) warnings;
      builds = lib.hasSuffix ".drv" config.system.build.toplevel.drvPath;
    };
    expected = {
      failed = [ ];
      warnings = [ ];
      builds = true;
    };
  };

  "each forwards a port, and its README names it" = {
    expr =
      lib.mapAttrs
        (
          example: vm:
          map (
            { host, guest, ... }:
            {
              inherit host guest;
              named = lib.hasInfix (toString host) (builtins.readFile (folder + "/${example}/README.md"));
            }
          ) specs.${vm}.forwards
        )
        {
          database = "database";
          multi-service = "links";
          nodejs = "nodejs";
          python-django = "django";
        };
    expected = lib.mapAttrs (_: forward: [ (forward // { named = true; }) ]) {
      database = {
        host = 5432;
        guest = 5432;
      };
      multi-service = {
        host = 8080;
        guest = 8000;
      };
      nodejs = {
        host = 3000;
        guest = 3000;
      };
      python-django = {
        host = 8000;
        guest = 8000;
      };
    };
  };

  "services run the project's copy as the user that it belongs to" = {
    expr =
      lib.mapAttrs
        (
          vm: service:
          let
            unit = (guest vm).systemd.services.${service};
          in
          {
            inherit (unit.serviceConfig) User WorkingDirectory;
            after = unit.unitConfig.RequiresMountsFor;
            exists = (guest vm).users.users ? ${unit.serviceConfig.User};
          }
        )
        {
          django = "guestbook";
          links = "links";
          nodejs = "notes";
        };
    expected = lib.genAttrs [ "django" "links" "nodejs" ] (_: {
      User = "dev";
      WorkingDirectory = "/project";
      after = "/project";
      exists = true;
    });
  };

  "the database persists, and its migrations run as its owner, after it" = {
    expr =
      let
        inherit (guest "database") fileSystems services systemd;
        unit = systemd.services.shop-migrations;
      in
      {
        disk = fileSystems."/var".fsType;
        data = lib.hasPrefix "/var/" services.postgresql.dataDir;
        inherit (unit.serviceConfig) User;
        inherit (unit) requires;
      };
    expected = {
      disk = "ext4";
      data = true;
      User = "shop";
      requires = [ "postgresql.service" ];
    };
  };

  "two services are peers, and only one of them is reached from the host" = {
    expr = lib.genAttrs [ "links" "links-db" ] (name: {
      peers = specs.${name}.network.peers or [ ];
      forwards = lib.length (specs.${name}.forwards or [ ]);
    });
    expected = {
      links = {
        peers = [ "links-db" ];
        forwards = 1;
      };
      links-db = {
        peers = [ ];
        forwards = 0;
      };
    };
  };
}
