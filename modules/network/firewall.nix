# The host's firewall, next to our own table: VMs ask the host for names and addresses and nothing else. Nothing is
# flushed, and no interface is trusted. What the host lets through here, our table may still refuse.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  bridges = lib.unique (
    lib.optional (cfg.network.topology == "shared-bridge") cfg.networkBridge
    ++ lib.concatMap (spec: lib.optional (spec ? network) spec.network.bridge) (
      lib.attrValues cfg.specs
    )
  );
  # Name servers of VMs with restricted egress listen from here on (pkgs/mvm-host/src/keeper/names.rs); each answers
  # its own VM alone, which our table sees to.
  resolvers = [
    {
      from = 35300;
      to = 35555;
    }
  ];
  set = lib.concatMapStringsSep ", " (bridge: ''"${bridge}"'') bridges;
in
{
  config = lib.mkIf cfg.enable {
    networking.firewall = {
      interfaces = lib.genAttrs bridges (_: {
        allowedTCPPorts = [ 53 ];
        allowedTCPPortRanges = resolvers;
        allowedUDPPorts = [
          53
          67
        ];
        allowedUDPPortRanges = resolvers;
      });

      # Where the host forwards nothing by default: outward, and between VMs, as our table decides. Inward there is only
      # what a forward translated, which the firewall accepts by itself.
      extraForwardRules =
        lib.mkIf
          (config.networking.nftables.enable && config.networking.firewall.filterForward && bridges != [ ])
          ''
            iifname { ${set} } accept comment "development VMs; microvm-dev's own table decides"
          '';
    };

    # The VMs are routed. `mvm-unit network` sets it, too; here so that nothing else takes it back.
    boot.kernel.sysctl."net.ipv4.ip_forward" = lib.mkOverride 99 true;
  };
}
