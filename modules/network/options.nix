{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.services.microvm-dev = {
    networkBridge = mkOption {
      type = types.str;
      default = "virbr-mvm";
      description = "Interface name of the bridge that the VMs share (with {option}`network.topology` `shared-bridge`).";
    };

    subnet = mkOption {
      type = types.str;
      default = "192.168.100.0/24";
      example = "172.20.0.0/16";
      description = "The VMs' subnet on the shared bridge; the host has its first address. A private range, /8 to /29.";
    };

    network = {
      topology = mkOption {
        type = types.enum [
          "shared-bridge"
          "bridge-per-vm"
        ];
        default = "shared-bridge";
        description = ''
          One bridge for all VMs, which are kept apart as isolated ports, or a bridge `br-NAME` and a network of its own
          for each.
        '';
      };

      subnets = mkOption {
        type = types.str;
        default = "10.0.0.0/8";
        example = "192.168.0.0/16";
        description = ''
          What the networks of `bridge-per-vm` are taken from: network N is 10.N.0.0/24 of 10.0.0.0/8, and 192.168.N.0/24
          of 192.168.0.0/16. The host has the first address of each, the VM the second.
        '';
      };

      dns = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "192.0.2.53" ];
        description = "IPv4 addresses of the name servers that answer the VMs; by default those of the host.";
      };

      autoPorts = {
        from = mkOption {
          type = types.port;
          default = 20000;
          description = "First port of the host that a forward with `host = 0` may get.";
        };
        to = mkOption {
          type = types.port;
          default = 29999;
          description = "The last one.";
        };
      };
    };

    wiring = mkOption {
      type = types.attrsOf types.raw;
      internal = true;
      default = { };
      description = "Of each instance: `place`, `mac`, `forwards`, `peers`.";
    };
  };
}
