# What all VMs of the hypervisor have in common. A VM's own configuration imports this and says its name.
{
  config,
  lib,
  microvm,
  ...
}:
let
  inherit (config.networking) hostName;
  cfg = config.hypervisor;
in
{
  imports = [
    microvm.nixosModules.microvm
    ../options.nix
    ../site.nix
    ./network.nix
    ./storage.nix
  ];

  nixpkgs.hostPlatform = lib.mkDefault "x86_64-linux";

  assertions = [
    {
      assertion = cfg.vms ? ${hostName};
      message = "${hostName} is no VM of the hypervisor: add a line for it to hosts/hypervisor/vms.nix.";
    }
  ];

  # Others in the VM's own configuration. (Not 2048 MiB: QEMU hangs at exactly that size.)
  microvm = {
    hypervisor = lib.mkDefault "qemu";
    vcpu = lib.mkDefault 2;
    mem = lib.mkDefault 4096;
  };

  services.openssh = {
    enable = true;
    settings = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      PermitRootLogin = "prohibit-password";
    };
  };
  users.users.root.openssh.authorizedKeys.keys = cfg.authorizedKeys;

  system.stateVersion = "26.05";
}
