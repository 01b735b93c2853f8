# Options → specs. The tool that reads the files on the host also checks them when they are built.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.microvm-dev;
  pure = import ../lib;

  # What the network room says about an instance; nothing where that room is not imported.
  wiring = name: cfg.wiring.${name} or { };

  make =
    { family, name, ... }:
    lib.nameValuePair name (
      pure.spec.make {
        vm = cfg.vms.${family};
        inherit name;
        mac = (wiring name).mac or null;
        place = (wiring name).place or null;
        forwards = (wiring name).forwards or [ ];
        peers = (wiring name).peers or [ ];
      }
    );

  files = lib.mapAttrs (name: spec: pkgs.writeText "${name}.json" (builtins.toJSON spec)) cfg.specs;
in
{
  config = lib.mkMerge [
    { services.microvm-dev.specs = lib.listToAttrs (map make cfg.instances); }
    (lib.mkIf (cfg.enable && cfg.specs != { }) {
      environment.etc."microvm-dev/vms".source =
        pkgs.runCommand "microvm-dev-vms" { nativeBuildInputs = [ cfg.package ]; }
          ''
            mkdir $out
            ${lib.concatStringsSep "\n" (lib.mapAttrsToList (name: file: "cp ${file} $out/${name}.json") files)}
            mvm-spec check $out/*.json
          '';
    })
  ];
}
