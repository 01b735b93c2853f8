# The network's own processes: `mvm-unit network`, which keeps bridges, rules, name servers and forwards; each VM's tap
# on its bridge; and forwards put back when the host's firewall is loaded anew.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.microvm-dev;
  hardening = import ../base/hardening.nix;
  network = "microvm-dev-network.service";
  # Those of the host's that there are.
  firewalls =
    lib.optional config.networking.nftables.enable "nftables.service"
    ++ lib.optional (
      config.networking.firewall.enable && !config.networking.nftables.enable
    ) "firewall.service";
  tools = [
    pkgs.dnsmasq
    pkgs.iproute2
    pkgs.nftables
  ];
in
{
  config = lib.mkIf cfg.enable {
    # Whom the name servers run as; the same as NixOS's own dnsmasq has.
    users.users.dnsmasq = {
      isSystemUser = true;
      group = "dnsmasq";
    };
    users.groups.dnsmasq = { };

    systemd.services = {
      microvm-dev-network = {
        description = "Network of the development VMs";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network.target" ];
        after = [ "network.target" ] ++ firewalls;
        path = tools;
        # VMs keep running when it restarts.
        restartTriggers = [ config.environment.etc."microvm-dev/config.toml".source ];
        serviceConfig = hardening // {
          Type = "notify";
          ExecStart = "${cfg.package}/bin/mvm-unit network";
          Restart = "on-failure";
          RestartSec = 1;
          StateDirectory = "microvm-dev";
          StateDirectoryMode = "0700";
          CacheDirectory = "microvm-dev";
          CacheDirectoryMode = "0700";
          ReadWritePaths = [
            # Not this unit's alone: no RuntimeDirectory, which would go with it.
            "/run/microvm-dev"
            # Settings of bridges and taps; the other tunables stay protected.
            "/proc/sys/net"
          ];
          ProcSubset = "all";

          # The bridges and rules are the host's, and forwards listen there.
          PrivateNetwork = false;
          IPAddressDeny = "";
          RestrictAddressFamilies = [
            "AF_UNIX"
            "AF_INET"
            "AF_INET6"
            "AF_NETLINK"
          ];
          # Bridges and rules; ports below 1024; its children in views of their own, as a user of their own, without what
          # they don't need. Deliberately absent: power over other users' files and processes. What its children's users
          # write is in directories of root's, and it ends them as who they are.
          CapabilityBoundingSet = [
            "CAP_NET_ADMIN"
            "CAP_NET_BIND_SERVICE"
            "CAP_NET_RAW"
            "CAP_SETGID"
            "CAP_SETPCAP"
            "CAP_SETUID"
            "CAP_SYS_ADMIN"
          ];
          # A view is a mount and a process namespace; the unit's IPC namespace is its own already.
          PrivateIPC = true;
          RestrictNamespaces = [
            "mnt"
            "pid"
          ];
          SystemCallFilter = [
            "@system-service"
            "@mount"
            "@setuid"
            "~@resources"
          ];
        };
      };

      "microvm-dev-attach@" = {
        description = "Network of VM '%i'";
        # Wanted, not required: a restart of the keeper, which takes over VMs that run, would restart them all.
        wants = [ network ];
        requires = [ "microvm-tap-interfaces@%i.service" ];
        after = [
          network
          "microvm-dev-prepare@%i.service"
          "microvm-tap-interfaces@%i.service"
        ];
        before = [ "microvm@%i.service" ];
        partOf = [ "microvm@%i.service" ];
        path = tools;
        unitConfig.ConditionPathExists = "/etc/microvm-dev/vms/%i.json";
        restartIfChanged = false;
        serviceConfig = hardening // {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${cfg.package}/bin/mvm-unit attach %i";
          ExecStop = "${cfg.package}/bin/mvm-unit detach %i";
          ReadWritePaths = [
            "/run/microvm-dev"
            "/var/lib/microvm-dev"
            "/proc/sys/net"
          ];
          ProcSubset = "all";
          # The tap and the rules are in the host's network.
          PrivateNetwork = false;
          RestrictAddressFamilies = [
            "AF_UNIX"
            "AF_INET"
            "AF_NETLINK"
          ];
          CapabilityBoundingSet = [ "CAP_NET_ADMIN" ];
        };
      };

      "microvm@" = {
        requires = [ "microvm-dev-attach@%i.service" ];
        after = [ "microvm-dev-attach@%i.service" ];
      };

      microvm-dev-sync = {
        description = "Forwards of the development VMs, after the firewall";
        wantedBy = [ "multi-user.target" ] ++ firewalls;
        # What restarts or reloads them, runs this again.
        partOf = firewalls;
        unitConfig.ReloadPropagatedFrom = firewalls;
        after = [ network ] ++ firewalls;
        requires = [ network ];
        path = tools;
        serviceConfig = hardening // {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${cfg.package}/bin/mvm-ports sync --realm host";
          ExecReload = "${cfg.package}/bin/mvm-ports sync --realm host";
          ReadWritePaths = [
            "/run/microvm-dev"
            "/var/lib/microvm-dev"
          ];
          PrivateNetwork = false;
          RestrictAddressFamilies = [
            "AF_UNIX"
            "AF_INET"
            "AF_NETLINK"
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
  };
}
