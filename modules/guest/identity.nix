# Who the guest is: an ssh host key, and the key of its host's `mvm`, both made once on the host. They end up in one
# place, whichever way they come: as systemd credentials, or by a share, which is for root's eyes only. Where they don't
# come at all (firecracker), sshd makes a key of its own at each boot.
{ config, lib, ... }:
let
  dir = "/run/microvm-dev/identity";
  byCredentials = config.services.microvm-dev-guest.identityByCredentials;

  # A line whose credential or file is missing is skipped (tmpfiles.d(5)).
  file =
    mode: credential: name:
    if byCredentials then
      {
        "f^" = {
          inherit mode;
          argument = credential;
        };
      }
    else
      {
        C = {
          inherit mode;
          argument = "/run/microvm-dev/from-host/${name}";
        };
      };
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

  systemd.tmpfiles.settings."10-microvm-dev" = {
    ${dir}.d.mode = "0755";
    "${dir}/ssh_host_ed25519_key" = file "0600" "microvm-dev.ssh-host-key" "ssh_host_ed25519_key";
    # sshd reads it as whoever logs in.
    "${dir}/authorized_keys" = file "0644" "microvm-dev.authorized-keys" "authorized_keys";
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
