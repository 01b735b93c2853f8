# What differs from site to site. Values are set in site.nix, the VMs in vms.nix. Host and guests read the same.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.hypervisor = {
    vms = mkOption {
      type = types.attrsOf (types.ints.between 0 255);
      default = import ./vms.nix;
      defaultText = lib.literalExpression "import ./vms.nix";
      description = ''
        The VMs by name, each with the number of its network, 10.NUMBER.0.0/24. Each name is a configuration of the
        flake.
      '';
    };

    authorizedKeys = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      example = [ "ssh-ed25519 AAAAC3… ada@laptop" ];
      description = "Public keys that log in as root, on the hypervisor and in the VMs. Nothing else logs in.";
    };

    uplink = mkOption {
      type = types.nonEmptyStr;
      example = "eno1";
      description = "The hypervisor's interface to the network (`ip route show default` names it).";
    };

    nameservers = mkOption {
      type = types.nonEmptyListOf types.nonEmptyStr;
      example = [ "192.0.2.53" ];
      description = "Name servers of the VMs. They are reached from the VMs' networks through the uplink.";
    };

    updateFlake = mkOption {
      type = types.nonEmptyStr;
      default = "git+file:///etc/nixos";
      description = "Where `microvm -u` builds the VMs' next generation from.";
    };

    zfs = {
      enable = lib.mkEnableOption "a ZFS dataset for each VM, with snapshots";
      pool = mkOption {
        type = types.strMatching "[A-Za-z][A-Za-z0-9_.:-]*";
        default = "tank";
        description = "The pool. It must exist: nothing here makes or destroys pools.";
      };
      dataset = mkOption {
        type = types.strMatching "[A-Za-z0-9][A-Za-z0-9_.:/-]*";
        default = "microvms";
        description = "The dataset below the pool that has the VMs' datasets below it.";
      };
    };

    tailscale.enable = lib.mkEnableOption "the VMs' networks as routes of a tailnet";
  };
}
