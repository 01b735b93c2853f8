# Your values. What each is: options.nix.
{
  hypervisor = {
    # Without a key nobody gets in.
    authorizedKeys = [ ];
    uplink = "eno1";
    nameservers = [
      "9.9.9.9"
      "149.112.112.112"
    ];
    zfs.enable = true;
    tailscale.enable = true;
  };

  # ZFS wants it: any eight hexadecimal digits that no other machine with access to the same disks has
  # (`head -c4 /dev/urandom | od -An -tx4`).
  networking.hostId = "8425e349";
  time.timeZone = "UTC";
}
