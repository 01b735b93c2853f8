# The VMs' networks as routes of a tailnet. The key that joins it is a credential: never in the store, nor in a process's
# arguments or environment.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.hypervisor;
  names = lib.mapAttrsToList (import ./names.nix { inherit lib; }) cfg.vms;
  routes = "--advertise-routes=${lib.concatMapStringsSep "," ({ subnet, ... }: subnet) names}";
  tailscale = lib.getExe config.services.tailscale.package;
  joined = "/var/lib/tailscale/joined";
in
lib.mkIf cfg.tailscale.enable {
  services.tailscale = {
    enable = true;
    openFirewall = true;
    # Forwarding between the tailnet and the bridges.
    useRoutingFeatures = "server";
    # At each start, so that a VM added to the table needs no new key.
    extraSetFlags = [ routes ];
  };

  # Once: afterwards tailscaled remembers. `services.tailscale.authKeyFile` does the same with the key's path fixed in the
  # configuration; here it is whatever the credential store has, encrypted or not.
  systemd.services.tailscale-join = {
    description = "Join the tailnet";
    documentation = [ "https://tailscale.com/kb/1019/subnets" ];
    after = [
      "network-online.target"
      "tailscaled.service"
      "tailscaled-set.service"
    ];
    wants = [ "network-online.target" ];
    requires = [ "tailscaled.service" ];
    wantedBy = [ "multi-user.target" ];
    unitConfig.ConditionPathExists = [
      "!${joined}"
      # No key yet: nothing to do, and no failed unit.
      "|/etc/credstore/tailscale-auth-key"
      "|/etc/credstore.encrypted/tailscale-auth-key"
    ];
    serviceConfig = {
      Type = "oneshot";
      ImportCredential = "tailscale-auth-key";
      ExecStart = "${tailscale} up --auth-key=file:%d/tailscale-auth-key ${routes}";
      ExecStartPost = "${lib.getExe' pkgs.coreutils "touch"} ${joined}";
    };
  };
}
