# A bridge and a network of its own for each VM, and the way out. Which packets pass is in isolation.nix.
{ config, lib, ... }:
let
  cfg = config.hypervisor;
  names = lib.mapAttrs (import ./names.nix { inherit lib; }) cfg.vms;
  forEachVm = function: lib.mapAttrs' (_name: function) names;
in
{
  networking = {
    useNetworkd = true;
    useDHCP = false;
    interfaces.${cfg.uplink}.useDHCP = lib.mkDefault true;
    nftables.enable = true;
    nat = {
      enable = true;
      externalInterface = cfg.uplink;
      internalIPs = lib.mapAttrsToList (_name: vm: vm.subnet) names;
    };
  };

  systemd.network = {
    netdevs = forEachVm (
      { bridge, ... }:
      lib.nameValuePair "10-${bridge}" {
        netdevConfig = {
          Name = bridge;
          Kind = "bridge";
        };
      }
    );
    networks =
      forEachVm (
        { bridge, gateway, ... }:
        lib.nameValuePair "10-${bridge}" {
          matchConfig.Name = bridge;
          address = [ "${gateway}/24" ];
          networkConfig = {
            # There from the start, so that routes can be advertised before a VM runs.
            ConfigureWithoutCarrier = true;
            LinkLocalAddressing = "no";
            IPv6AcceptRA = false;
          };
          linkConfig.RequiredForOnline = "no";
        }
      )
      // forEachVm (
        { bridge, tap, ... }:
        lib.nameValuePair "10-${tap}" {
          matchConfig.Name = tap;
          networkConfig.Bridge = bridge;
          linkConfig.RequiredForOnline = "no";
        }
      );
  };
}
