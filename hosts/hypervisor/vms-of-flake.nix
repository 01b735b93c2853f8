# The VMs as microvm.nix runs them: configurations of this flake, installed with the hypervisor the first time, and
# updated from `updateFlake` by `microvm -u NAME…`, whenever you want, without rebuilding the hypervisor.
{
  config,
  lib,
  self,
  ...
}:
let
  cfg = config.hypervisor;
  names = lib.mapAttrs (import ./names.nix { inherit lib; }) cfg.vms;
in
{
  microvm.vms = lib.mapAttrs (_name: _vm: {
    flake = self;
    inherit (cfg) updateFlake;
  }) cfg.vms;

  # Of these VMs only: others on this machine, of `services.microvm-dev`, keep their files elsewhere.
  systemd.services = lib.concatMapAttrs (
    name:
    { directory, ... }:
    let
      afterStorage = {
        requires = [ "hypervisor-storage@${name}.service" ];
        after = [ "hypervisor-storage@${name}.service" ];
      };
    in
    {
      "microvm-virtiofsd@${name}" = afterStorage;
      "install-microvm-${name}" = afterStorage // {
        # microvm.nix takes a VM with a directory for installed. This one has its directory, a dataset, before that.
        unitConfig.ConditionPathExists = lib.mkForce "!${directory}/current";
      };
    }
  ) names;

  # microvm.nix would give the directories of shares to its own user. They are the guest's /etc and /var, and root's:
  # storage.nix makes them.
  systemd.tmpfiles.settings."10-microvm" = lib.mkMerge (
    lib.mapAttrsToList (
      _name:
      { directory, ... }:
      {
        "${directory}/etc" = lib.mkForce { };
        "${directory}/var" = lib.mkForce { };
      }
    ) names
  );
}
