# Who the guest is: an ssh host key, and the key of its host's `mvm`, both made once on the host. They are at one place,
# whichever way they come; where they don't come at all (firecracker), sshd makes a key of its own at each boot.
{ config, lib, ... }:
let
  dir = "/run/microvm-dev/identity";
  byCredentials = config.services.microvm-dev-guest.identityByCredentials;
in
{
  services.openssh = {
    hostKeys = [
      {
        type = "ed25519";
        path = "${dir}/ssh_host_ed25519_key";
      }
    ];
    authorizedKeysFiles = [ "${dir}/authorized_keys" ];
  };

  systemd.tmpfiles.settings."10-microvm-dev" = lib.mkIf byCredentials {
    ${dir}.d.mode = "0755";
    "${dir}/ssh_host_ed25519_key"."f^" = {
      mode = "0600";
      argument = "microvm-dev.ssh-host-key";
    };
    "${dir}/authorized_keys"."f^" = {
      mode = "0644";
      argument = "microvm-dev.authorized-keys";
    };
  };
  systemd.services.systemd-tmpfiles-setup = lib.mkIf byCredentials {
    serviceConfig.LoadCredential = [
      "microvm-dev.ssh-host-key"
      "microvm-dev.authorized-keys"
    ];
  };

  # systemd takes credentials from QEMU before any module is loaded by name, so the initrd must have it.
  boot.initrd.availableKernelModules = lib.mkIf byCredentials [ "qemu_fw_cfg" ];
}
