# Each example with a vm.nix is a host that can be built, as it is, and from a copy elsewhere.
{ lib, world, ... }:
let
  folder = ../../examples;
  declared = lib.filter (name: builtins.pathExists (folder + "/${name}/vm.nix")) (
    lib.attrNames (builtins.readDir folder)
  );
  host =
    name:
    (world.evalHost [
      (folder + "/${name}/vm.nix")
      { services.microvm-dev.enable = true; }
    ]).config;
  guest = config: name: config.microvm.vms.${name}.config.config;
  all = lib.genAttrs declared host;
in
{
  "the examples for NixOS are these" = {
    expr = declared;
    expected = [
      "database"
      "multi-service"
      "nodejs"
      "python-django"
    ];
  };

  "each is a host that can be built, without a warning" = {
    expr = lib.mapAttrs (_: config: {
      failed = map (assertion: assertion.message) (
        lib.filter (assertion: !assertion.assertion) config.assertions
      );
      inherit (config) warnings;
      builds = lib.hasSuffix ".drv" config.system.build.toplevel.drvPath;
    }) all;
    expected = lib.genAttrs declared (_: {
      failed = [ ];
      warnings = [ ];
      builds = true;
    });
  };

  "each forwards the port that its README names" = {
    expr = lib.mapAttrs (
      name: config:
      let
        readme = builtins.readFile (folder + "/${name}/README.md");
        forwards = lib.concatMap (spec: spec.forwards or [ ]) (
          lib.attrValues config.services.microvm-dev.specs
        );
      in
      map (forward: {
        inherit (forward) host;
        named = lib.hasInfix (toString forward.host) readme || forward.host == 5432;
      }) forwards
    ) all;
    expected = {
      database = [
        {
          host = 5432;
          named = true;
        }
      ];
      multi-service = [
        {
          host = 8000;
          named = true;
        }
      ];
      nodejs = [
        {
          host = 3000;
          named = true;
        }
      ];
      python-django = [
        {
          host = 8000;
          named = true;
        }
      ];
    };
  };

  "the database persists, and its migrations run as its owner, after it" = {
    expr =
      let
        config = guest all.database "database";
        unit = config.systemd.services.shop-migrations;
      in
      {
        disk = config.fileSystems."/var".fsType;
        data = lib.hasPrefix "/var/" config.services.postgresql.dataDir;
        inherit (unit.serviceConfig) User;
        inherit (unit) requires;
        project = unit.unitConfig.RequiresMountsFor;
      };
    expected = {
      disk = "ext4";
      data = true;
      User = "shop";
      requires = [ "postgresql.service" ];
      project = "/project";
    };
  };

  "the two services are peers, and only one of them is reached from the host" = {
    expr = lib.mapAttrs (_: spec: {
      peers = spec.network.peers or [ ];
      forwards = lib.length (spec.forwards or [ ]);
    }) all.multi-service.services.microvm-dev.specs;
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

  "no example has a project in the store, so that changes on the host are seen" = {
    expr = lib.concatMap (
      config:
      lib.filter (path: path != null && lib.hasPrefix builtins.storeDir path) (
        lib.mapAttrsToList (_: vm: vm.projectDir) config.services.microvm-dev.vms
      )
    ) (lib.attrValues all);
    expected = [ ];
  };
}
