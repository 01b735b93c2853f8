# Bridges and taps are ours: programs that configure whatever interface appears leave them alone.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  # All taps (modules/lib/names.nix), and the bridges by name: others have bridges that begin with `br-`, too.
  taps = [
    "mvm-*"
    "mvm_*"
  ];
  bridges = lib.unique (
    lib.optional (cfg.network.topology == "shared-bridge") cfg.networkBridge
    ++ lib.concatMap (spec: lib.optional (spec ? network) spec.network.bridge) (
      lib.attrValues cfg.specs
    )
  );
in
{
  config = lib.mkIf cfg.enable {
    systemd.network.networks."05-microvm-dev" = {
      matchConfig.Name = taps ++ bridges;
      linkConfig.Unmanaged = true;
    };
    networking.networkmanager.unmanaged = map (name: "interface-name:${name}") (taps ++ bridges);
    networking.dhcpcd.denyInterfaces = taps ++ bridges;
  };
}
