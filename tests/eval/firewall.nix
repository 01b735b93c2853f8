# NixOS's firewalls, and other programs that would take hold of our interfaces.
{ lib, world, ... }:
let
  inherit (world.hosts)
    desk
    nftables
    odd
    perVm
    ;
  opened = config: config.networking.firewall.interfaces;
  table = nftables.networking.nftables.tables.nixos-fw.content;
in
{
  "VMs ask the host for names and addresses, and nothing else" = {
    expr = lib.mapAttrs (_: interface: {
      inherit (interface) allowedTCPPorts allowedUDPPorts allowedTCPPortRanges;
    }) (opened desk);
    expected.virbr-mvm = {
      allowedTCPPorts = [ 53 ];
      allowedUDPPorts = [
        53
        67
      ];
      allowedTCPPortRanges = [
        {
          from = 35300;
          to = 35555;
        }
      ];
    };
  };
  "with a bridge for each VM, each is opened" = {
    expr = lib.attrNames (opened perVm);
    expected = [
      "br-vm1"
      "br_cregxmg24wb5"
    ];
  };
  "no interface is trusted, and no port is open to all" = {
    expr =
      map
        (config: {
          inherit (config.networking.firewall) trustedInterfaces allowedTCPPorts allowedUDPPorts;
        })
        [
          desk
          nftables
          perVm
        ];
    expected = builtins.genList (_: {
      trustedInterfaces = [ "lo" ];
      allowedTCPPorts = [ ];
      allowedUDPPorts = [ ];
    }) 3;
  };
  "the nftables firewall has the rules, for the bridge alone" = {
    expr = map (rule: lib.hasInfix rule table) [
      "iifname virbr-mvm tcp dport { 53, 35300-35555 } accept"
      "iifname virbr-mvm udp dport { 53, 67, 35300-35555 } accept"
      ''iifname { "virbr-mvm" } accept comment "development VMs; microvm-dev's own table decides"''
    ];
    expected = [
      true
      true
      true
    ];
  };
  "the iptables firewall has the rules, for the bridge alone" = {
    expr =
      let
        script = desk.systemd.services.firewall.serviceConfig.ExecStart;
        # What the module itself generates from the same options.
        rules = desk.networking.firewall.allInterfaces.virbr-mvm.allowedUDPPorts;
      in
      {
        backend = builtins.isString script;
        inherit rules;
        forward = desk.networking.firewall.extraForwardRules;
      };
    expected = {
      backend = true;
      rules = [
        53
        67
      ];
      forward = "";
    };
  };
  "nothing of the host's rules is flushed" = {
    expr = {
      inherit (nftables.networking.nftables) flushRuleset;
      tables = lib.attrNames nftables.networking.nftables.tables;
    };
    expected = {
      flushRuleset = false;
      # NixOS's own.
      tables = [ "nixos-fw" ];
    };
  };
  "the host routes" = {
    expr = desk.boot.kernel.sysctl."net.ipv4.ip_forward";
    expected = true;
  };
  "networkd, NetworkManager and dhcpcd leave bridges and taps alone" = {
    expr = {
      networkd = desk.systemd.network.networks."05-microvm-dev".matchConfig.Name;
      unmanaged = desk.systemd.network.networks."05-microvm-dev".linkConfig.Unmanaged;
      manager = desk.networking.networkmanager.unmanaged;
      dhcpcd = lib.take 3 desk.networking.dhcpcd.denyInterfaces;
    };
    expected = {
      networkd = [
        "mvm-*"
        "mvm_*"
        "virbr-mvm"
      ];
      unmanaged = true;
      manager = [
        "interface-name:mvm-*"
        "interface-name:mvm_*"
        "interface-name:virbr-mvm"
      ];
      dhcpcd = [
        "mvm-*"
        "mvm_*"
        "virbr-mvm"
      ];
    };
  };
  "whichever configures the host's network, the host evaluates" = {
    expr = map (config: builtins.isString config.system.build.toplevel.drvPath) [
      # networkd, NetworkManager with a bridge for each VM, scripted networking.
      odd
      perVm
      nftables
    ];
    expected = [
      true
      true
      true
    ];
  };
  "dnsmasq is an instance of our own, as an ordinary user" = {
    expr = {
      service = desk.services.dnsmasq.enable;
      system = desk.users.users.dnsmasq.isSystemUser;
    };
    expected = {
      service = false;
      system = true;
    };
  };
}
