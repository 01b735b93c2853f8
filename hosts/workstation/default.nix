# A developer's machine: two declared VMs, and `mvm` for those made on the spot. Desktop and editor are yours to add.
{ microvm-dev, ... }:
{
  imports = [
    microvm-dev.nixosModules.default
    ../uefi-by-label.nix
    ./vms.nix
  ];

  networking = {
    hostName = "workstation";
    networkmanager.enable = true;
    nftables.enable = true;
  };

  # No password is set here: `passwd ada` as root, once.
  users.users.ada = {
    isNormalUser = true;
    uid = 1000;
    extraGroups = [
      "networkmanager"
      "wheel"
    ];
  };

  services.microvm-dev = {
    enable = true;
    # Start, enter and forward the declared VMs without sudo.
    users = [ "ada" ];
  };

  time.timeZone = "UTC";
  system.stateVersion = "26.05";
}
