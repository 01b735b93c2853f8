# A rack machine with isolated VMs. docs/how-to/hypervisor.md goes from a bare NixOS to the first login in a VM.
{
  config,
  lib,
  microvm-dev,
  ...
}:
let
  cfg = config.hypervisor;
  numbers = lib.attrValues cfg.vms;
  longNames = lib.filter (name: lib.stringLength name > 11) (lib.attrNames cfg.vms);
in
{
  imports = [
    microvm-dev.nixosModules.default
    ../uefi-by-label.nix
    ./isolation.nix
    ./network.nix
    ./options.nix
    ./site.nix
    ./storage.nix
    ./tailscale.nix
    ./vms-of-flake.nix
  ];

  networking.hostName = "hypervisor";

  # Throw-away VMs next to the VMs of the table: `mvm` for members of the group.
  services.microvm-dev.enable = true;

  services.openssh = {
    enable = true;
    settings = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      PermitRootLogin = "prohibit-password";
    };
  };
  users.users.root.openssh.authorizedKeys.keys = cfg.authorizedKeys;
  warnings = lib.optional (cfg.authorizedKeys == [ ]) ''
    hypervisor.authorizedKeys is empty, so that nobody can log in to the hypervisor and its VMs by ssh. Put your public
    key into hosts/hypervisor/site.nix.
  '';

  assertions = [
    {
      assertion = lib.allUnique numbers;
      message = ''
        hypervisor.vms: two VMs have the same number (${
          lib.concatMapStringsSep ", " toString numbers
        }), and so the same
        network. Give each its own in hosts/hypervisor/vms.nix.
      '';
    }
    {
      assertion = longNames == [ ];
      message = ''
        hypervisor.vms: ${lib.concatStringsSep ", " longNames}: names have at most 11 characters, since `tap-NAME` is the
        name of a network interface, which Linux limits to 15. Use a shorter one in hosts/hypervisor/vms.nix.
      '';
    }
  ];

  system.stateVersion = "26.05";
}
