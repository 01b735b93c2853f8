# The VM's side of its network: one interface, one address.
{ config, lib, ... }:
let
  inherit (config.networking) hostName;
  cfg = config.hypervisor;
  vm = import ../names.nix { inherit lib; } hostName cfg.vms.${hostName};
in
lib.mkIf (cfg.vms ? ${hostName}) {
  microvm.interfaces = [
    {
      type = "tap";
      id = vm.tap;
      inherit (vm) mac;
    }
  ];

  networking = {
    useNetworkd = true;
    useDHCP = false;
    inherit (cfg) nameservers;
  };
  systemd.network.networks."10-uplink" = {
    matchConfig.MACAddress = vm.mac;
    address = [ "${vm.address}/24" ];
    gateway = [ vm.gateway ];
    networkConfig = {
      LinkLocalAddressing = "no";
      IPv6AcceptRA = false;
    };
  };
}
