# Hosts whose evaluation scripts/bench eval measures.
{
  nixpkgs,
  microvm,
  # plain: microvm.nix alone. separate: that many VMs of ours. copies: one of ours with that many copies.
  kind,
  count,
}:
let
  world = import ./world.nix { inherit nixpkgs microvm; };
  inherit (world) lib;
  names = lib.genList (n: "vm${toString n}") count;

  # As a user of microvm.nix would write what a VM of ours without any settings is.
  plainVm = name: {
    imports = [ world.compat ];
    networking = {
      hostName = name;
      useDHCP = false;
      useNetworkd = true;
      firewall.enable = false;
    };
    systemd.network.networks."10-lan" = {
      matchConfig.Type = "ether";
      networkConfig.DHCP = "ipv4";
    };
    services.openssh = {
      enable = true;
      settings.PasswordAuthentication = false;
    };
    users.mutableUsers = false;
    users.allowNoPasswordLogin = true;
    security.sudo.wheelNeedsPassword = false;
    system.stateVersion = "24.11";
    microvm = {
      mem = 1024;
      vcpu = 2;
      shares = [
        {
          tag = "ro-store";
          proto = "virtiofs";
          source = "/nix/store";
          mountPoint = "/nix/.ro-store";
        }
        {
          tag = "project";
          proto = "virtiofs";
          source = "/srv/project";
          mountPoint = "/project";
        }
      ];
      interfaces = [
        {
          type = "tap";
          id = "tap-${name}";
          mac = (import ../../../modules/lib).names.mac name;
        }
      ];
    };
  };

  ours = vm: vm // { projectDir = "/srv/project"; };
  modules = {
    plain = {
      microvm.vms = lib.genAttrs names (name: {
        config = plainVm name;
      });
    };
    separate.services.microvm-dev = {
      enable = count > 0;
      vms = lib.genAttrs names (_: ours { });
    };
    copies.services.microvm-dev = {
      enable = true;
      vms.vm = ours { copies = count; };
    };
  };
in
(world.evalHost [ modules.${kind} ]).config.system.build.toplevel.drvPath
