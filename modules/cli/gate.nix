# The one door for what the group may do and polkit can't express: forwards, the keys of the VMs, what they print. It asks
# the kernel who calls, and knows a fixed list of verbs.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.microvm-dev;
  hardening = import ../base/hardening.nix;
in
{
  config = lib.mkIf cfg.enable {
    systemd.sockets.microvm-dev-gate = {
      description = "Requests of the group microvm-dev";
      wantedBy = [ "sockets.target" ];
      # After the directory has its mode (base/units.nix).
      after = [ "systemd-tmpfiles-setup.service" ];
      socketConfig = {
        ListenStream = "/run/microvm-dev/gate.sock";
        SocketMode = "0660";
        SocketGroup = "microvm-dev";
      };
    };

    systemd.services.microvm-dev-gate = {
      description = "Requests of the group microvm-dev";
      requires = [ "microvm-dev-gate.socket" ];
      after = [ "microvm-dev-network.service" ];
      path = [ pkgs.nftables ];
      serviceConfig = hardening // {
        Type = "simple";
        ExecStart = "${cfg.package}/bin/mvm-gate";
        # Forwards are files of the VMs', and elements of our table.
        ReadWritePaths = [
          "/run/microvm-dev"
          "/var/lib/microvm-dev"
        ];
        PrivateNetwork = false;
        RestrictAddressFamilies = [
          "AF_UNIX"
          "AF_NETLINK"
          "AF_INET"
        ];
        # For nft, to which it hands what it has.
        CapabilityBoundingSet = [
          "CAP_NET_ADMIN"
          "CAP_NET_RAW"
        ];
        SystemCallFilter = hardening.SystemCallFilter ++ [ "capset" ];
      };
    };
  };
}
