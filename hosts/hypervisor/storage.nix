# Where the VMs' persistent parts are: a directory each, which is a ZFS dataset of its own where there is a pool. They are
# made when missing, and never destroyed. `sanoid` takes snapshots, and prunes its own.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.hypervisor;
  parent = "${cfg.zfs.pool}/${cfg.zfs.dataset}";
  install = lib.getExe' pkgs.coreutils "install";

  # Properties of a VM's dataset. The guest's root writes what it likes in there, set-user-ID programs and device nodes of
  # its own included: they must mean nothing on the hypervisor. It doesn't take them from the guest, which has a mount of
  # its own. The rest is what NixOS in the guest needs (POSIX ACLs, for the journal), kept in the inode.
  properties = {
    mountpoint = "/var/lib/microvms/%i";
    acltype = "posixacl";
    xattr = "sa";
    atime = "off";
    compression = "on";
    setuid = "off";
    devices = "off";
    exec = "off";
  };
  options = lib.concatStringsSep " " (
    lib.mapAttrsToList (name: value: "-o ${name}=${value}") properties
  );
in
{
  boot = lib.mkIf cfg.zfs.enable {
    supportedFilesystems.zfs = true;
    zfs.extraPools = [ cfg.zfs.pool ];
    zfs.forceImportRoot = false;
  };

  services.zfs.autoScrub.enable = cfg.zfs.enable;

  systemd.services."hypervisor-storage@" = {
    description = "Storage of MicroVM '%i'";
    before = [
      "install-microvm-%i.service"
      "microvm-virtiofsd@%i.service"
    ];
    after = [ "local-fs.target" ] ++ lib.optional cfg.zfs.enable "zfs-mount.service";
    requires = lib.optional cfg.zfs.enable "zfs-import-${cfg.zfs.pool}.service";
    serviceConfig = {
      Type = "oneshot";
      RemainAfterExit = true;
      ExecStart =
        # With -p a dataset that exists is success, and is left as it is.
        lib.optional cfg.zfs.enable "${config.boot.zfs.package}/sbin/zfs create -p ${options} ${parent}/%i"
        ++ [
          # Nobody but the VM's own processes and root passes through here to the guest's files.
          "${install} --directory --mode=0700 --owner=microvm --group=kvm /var/lib/microvms/%i"
          "${install} --directory --mode=0755 --owner=root --group=root /var/lib/microvms/%i/etc /var/lib/microvms/%i/var"
        ];
    };
  };

  services.sanoid = lib.mkIf cfg.zfs.enable {
    enable = true;
    templates.microvms = {
      autosnap = true;
      autoprune = true;
      hourly = 24;
      daily = 14;
      monthly = 3;
      yearly = 0;
    };
    datasets.${parent} = {
      useTemplate = [ "microvms" ];
      recursive = true;
      processChildrenOnly = true;
    };
  };
}
