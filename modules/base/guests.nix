# VMs of their own: ordinary entries of microvm.nix.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  guest = import ./guest.nix { inherit cfg lib; };
  singles = lib.filterAttrs (_: vm: vm.enable && vm.copies == null) cfg.vms;
in
{
  config = lib.mkIf cfg.enable {
    microvm.vms = lib.mapAttrs (name: vm: {
      inherit (vm) autostart;
      config.imports = guest.modules vm cfg.specs.${name} ++ [
        {
          networking.hostName = name;
          microvm = guest.identity vm name;
        }
      ];
    }) singles;

    systemd.services = lib.mapAttrs' (
      name: vm: lib.nameValuePair "microvm@${name}" (guest.unit vm name)
    ) singles;
  };
}
