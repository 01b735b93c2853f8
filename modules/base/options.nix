{
  config,
  lib,
  options,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
in
{
  options.services.microvm-dev = {
    enable = lib.mkEnableOption "development VMs (microvm-dev)";

    package = mkOption {
      type = types.package;
      default = pkgs.microvm-dev;
      defaultText = lib.literalExpression "pkgs.microvm-dev";
      description = "The package with `mvm` and the programs that the units call.";
    };

    users = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "ada" ];
      description = ''
        Members of the group `microvm-dev`: they start, stop, enter and forward the declared VMs without `sudo`. They
        are root in those VMs, and no more than themselves on the host.
      '';
    };

    microvmNix = mkOption {
      type = types.path;
      internal = true;
      # A guest with copies is evaluated here, not by microvm.nix, and this is where its modules are: options know
      # which file declared them.
      default = dirOf (dirOf (dirOf (lib.head options.microvm.vms.declarations)));
      defaultText = lib.literalMD "the source of the microvm.nix whose host module is imported";
      description = "Path of microvm.nix.";
    };

    instances = mkOption {
      type = types.listOf types.raw;
      internal = true;
      readOnly = true;
      description = "The VMs that there are, copies one by one: `family`, `index`, `name` (modules/lib/instances.nix).";
    };

    specs = mkOption {
      type = types.attrsOf types.raw;
      internal = true;
      readOnly = true;
      description = "The spec of each instance, by name.";
    };
  };

  config.services.microvm-dev.instances =
    let
      lib' = (import ../lib).instances;
      enabled = lib.filterAttrs (_: vm: vm.enable) config.services.microvm-dev.vms;
    in
    lib'.all (lib.mapAttrs (_: vm: vm.copies) enabled);
}
