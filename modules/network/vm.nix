# What each VM says about the network.
{ lib, ... }:
let
  inherit (lib) mkOption types;

  forward = types.submodule {
    options = {
      host = mkOption {
        type = types.port;
        example = 8080;
        description = "Port of the host. Copy I of a VM gets this plus I − 1. 0: one of {option}`network.autoPorts`, always the same.";
      };
      guest = mkOption {
        type = types.port;
        example = 3000;
        description = "Port of the guest.";
      };
      proto = mkOption {
        type = types.enum [
          "tcp"
          "udp"
        ];
        default = "tcp";
        description = "Protocol.";
      };
      address = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "0.0.0.0";
        description = "The host's address to listen on; `null` for its loopback alone, `0.0.0.0` for all of IPv4.";
      };
    };
  };

  vm =
    { config, ... }:
    {
      options = {
        ipAddress = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "192.168.100.20";
          description = ''
            IPv4 address. Without, one follows from the name, and stays as long as no VM with the same wish comes before
            it; pin what others rely on. With `bridge-per-vm` it says which network: 10.3.0.2 is in network 3.
          '';
        };

        macAddress = mkOption {
          type = types.nullOr types.str;
          default = null;
          example = "02:00:5e:00:53:01";
          description = "MAC address, in lower case. Without, one follows from the name.";
        };

        forwardPorts = mkOption {
          type = types.listOf forward;
          default = [ ];
          example = [
            {
              host = 8080;
              guest = 3000;
            }
          ];
          description = "Ports of the host that lead into the VM. `mvm port` adds more while it runs.";
        };

        egress = mkOption {
          type = types.either (types.enum [
            "outbound"
            "none"
          ]) (types.listOf types.str);
          default = "outbound";
          example = [
            "crates.io"
            "10.1.2.0/24"
          ];
          description = ''
            What the VM reaches outside: everything but the host and other VMs, nothing, or what is listed: names with all
            below them, IPv4 addresses and networks.
          '';
        };

        peers = mkOption {
          type = types.listOf types.str;
          default = [ ];
          example = [ "db" ];
          description = ''
            VMs that it reaches, and that reach it; one of the two naming the other is enough. A VM with copies stands for
            all of them. All other VMs are out of reach.
          '';
        };

        enableFirewall = mkOption {
          type = types.bool;
          default = false;
          description = ''
            Whether the guest has a firewall of its own, open for ssh and declared forwards. Without, whatever it listens
            on is reached by those the host lets through: its peers, and forwards.
          '';
        };
      };

      config.parts = [
        {
          networking.firewall = {
            enable = config.enableFirewall;
            allowedTCPPorts = [ 22 ] ++ ports "tcp" config;
            allowedUDPPorts = ports "udp" config;
          };
        }
      ];
    };

  ports =
    proto: vm:
    map (forward: forward.guest) (lib.filter (forward: forward.proto == proto) vm.forwardPorts);
in
{
  options.services.microvm-dev.vms = mkOption { type = types.attrsOf (types.submodule vm); };
}
