# Places, forwards and peers, as they reach the specs; and the settings file.
{ lib, world, ... }:
let
  inherit (world.hosts) desk odd perVm;
  specs = desk.services.microvm-dev.specs;
  toml =
    config:
    builtins.unsafeDiscardStringContext config.environment.etc."microvm-dev/config.toml".source.text;
in
{
  "each VM and copy has a spec" = {
    expr = lib.attrNames specs;
    expected = [
      "db"
      "job-1"
      "job-2"
      "shop"
      "vmm-1"
      "vmm-2"
    ];
  };
  "forwards of copies count up, and any free port is one of the range" = {
    expr = {
      first = specs.job-1.forwards;
      second = (lib.head specs.job-2.forwards).host;
      free =
        let
          port = (lib.elemAt specs.shop.forwards 1).host;
        in
        port >= 20000 && port <= 29999;
    };
    expected = {
      first = [
        {
          proto = "tcp";
          host = 9000;
          guest = 80;
        }
      ];
      second = 9001;
      free = true;
    };
  };
  "the range of free ports is an option" = {
    expr =
      (world.sketch {
        network.autoPorts = {
          from = 7000;
          to = 7000;
        };
        vms.a.forwardPorts = [
          {
            host = 0;
            guest = 80;
            proto = "udp";
            address = "0.0.0.0";
          }
        ];
      }).services.microvm-dev.specs.a.forwards;
    expected = [
      {
        proto = "udp";
        address = "0.0.0.0";
        host = 7000;
        guest = 80;
      }
    ];
  };
  "a VM with copies stands for all of them as a peer" = {
    expr =
      let
        specs =
          (world.sketch {
            vms.shop.peers = [ "job" ];
            vms.job = {
              copies = 2;
              peers = [ "job" ];
            };
          }).services.microvm-dev.specs;
      in
      lib.mapAttrs (_: spec: spec.network.peers) specs;
    expected = {
      shop = [
        "job-1"
        "job-2"
      ];
      job-1 = [ "job-2" ];
      job-2 = [ "job-1" ];
    };
  };
  "egress is a policy of the spec" = {
    expr = [
      (specs.shop.network ? egress)
      specs.db.network.egress
      specs.job-1.network.egress
    ];
    expected = [
      false
      { policy = "none"; }
      {
        policy = "allow";
        to = [ "crates.io" ];
      }
    ];
  };
  "addresses and MACs can be pinned" = {
    expr =
      let
        spec =
          (world.sketch {
            networkBridge = "br-dev";
            subnet = "172.20.0.0/16";
            vms.a = {
              ipAddress = "172.20.3.4";
              macAddress = "02:00:5e:00:53:01";
            };
          }).services.microvm-dev.specs.a;
      in
      spec.network;
    expected = {
      bridge = "br-dev";
      mac = "02:00:5e:00:53:01";
      address = "172.20.3.4/16";
      gateway = "172.20.0.1";
    };
  };
  "with a bridge for each VM the address says which network" = {
    expr = lib.mapAttrs (_: spec: removeAttrs spec.network [ "mac" ]) (
      perVm.services.microvm-dev.specs
    );
    expected = {
      vm1 = {
        bridge = "br-vm1";
        address = "10.1.0.2/24";
        gateway = "10.1.0.1";
      };
      a-name-too-long-for-an-interface-1 = {
        bridge = "br_cregxmg24wb5";
        address = "10.119.0.2/24";
        gateway = "10.119.0.1";
      };
    };
  };
  "the settings file has what mvm reads" = {
    expr = map toml [
      desk
      odd
    ];
    expected = [
      ''
        bridge = "virbr-mvm"
        subnet = "192.168.100.1/24"
        subnets = "10.0.0.0/8"
        topology = "shared-bridge"
      ''
      ''
        bridge = "br-dev"
        dns = ["192.0.2.53"]
        subnet = "172.20.0.1/16"
        subnets = "192.168.0.0/16"
        topology = "shared-bridge"
      ''
    ];
  };
  "a VM that is not enabled has no spec and no guest" = {
    expr =
      let
        config = world.sketch {
          vms.a.enable = false;
          vms.b = { };
        };
      in
      {
        specs = lib.attrNames config.services.microvm-dev.specs;
        guests = lib.attrNames config.microvm.vms;
      };
    expected = {
      specs = [ "b" ];
      guests = [ "b" ];
    };
  };
}
