# Shares and disks of the guests.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  hypervisors = (import ../lib).hypervisors;

  # Explicit, since microvm.nix's default has the host name in it, and copies are one guest.
  share =
    proto: attrs:
    attrs
    // {
      inherit proto;
    }
    // lib.optionalAttrs (proto == "virtiofs") { socket = "virtiofs-${attrs.tag}.sock"; };

  readOnlyShares =
    vm:
    let
      able = hypervisors.${vm.hypervisor};
    in
    lib.elem vm.shareProtocol able.shares && (vm.shareProtocol == "virtiofs" || able.readOnly9p);

  sharesStore = vm: if vm.shareStore == null then readOnlyShares vm else vm.shareStore;

  shares =
    vm:
    lib.optional (sharesStore vm) {
      tag = "ro-store";
      source = "/nix/store";
      mountPoint = "/nix/.ro-store";
      readOnly = true;
    }
    # The file server sees each VM's own under this name (base/units.nix).
    ++ lib.optional (vm.projectDir != null) {
      tag = "project";
      source = if vm.overlayfs.enable then "/run/microvm-dev/self/project" else vm.projectDir;
      mountPoint = "/project";
      readOnly = !vm.overlayfs.enable;
    }
    ++ lib.optional (!hypervisors.${vm.hypervisor}.credentials && readOnlyShares vm) {
      tag = "identity";
      source = "/run/microvm-dev/self/identity";
      mountPoint = "/run/microvm-dev/from-host";
      readOnly = true;
    }
    ++ vm.shares;

  volumes =
    vm:
    lib.optional (vm.persistState && vm.stateDiskSize != null) {
      image = "state.img";
      size = vm.stateDiskSize;
      mountPoint = "/var";
    }
    ++ vm.volumes;

  part = vm: {
    microvm = {
      shares = map (share vm.shareProtocol) (shares vm);
      volumes = volumes vm;
    };
  };

  vm =
    { config, ... }:
    {
      config.parts = [ (part config) ];
    };
in
{
  options.services.microvm-dev.vms = lib.mkOption {
    type = lib.types.attrsOf (lib.types.submodule vm);
  };

  # With 9p the hypervisor itself opens the directories: it gets them the way the file servers do, and only the VMs that
  # use it get mounts of their own for that.
  config.systemd.services = lib.mkIf cfg.enable (
    lib.listToAttrs (
      map (instance: {
        name = "microvm@${instance.name}";
        value.serviceConfig = import ../base/self.nix;
      }) (lib.filter (instance: cfg.vms.${instance.family}.shareProtocol == "9p") cfg.instances)
    )
  );
}
