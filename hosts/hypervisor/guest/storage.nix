# The VM's files: the hypervisor's store, read-only; /etc and /var of its own, by virtiofs; all else in memory, and gone
# with the next boot.
#
# Why these two, and why they work over virtiofs: /etc has the identity (machine id, ssh host keys, users with their
# passwords), /var all that services write. The file server runs as root on the hypervisor, so that owners and modes are
# the guest's; POSIX ACLs, which the journal wants, and extended attributes pass (`posixAcl`, on by default). Nobody else
# writes there while the VM runs, so that locks, which stay within the guest, and its page cache, which mmap of the
# journal and SQLite need (`cache = "auto"`), are enough. Both are mounted in stage 1: NixOS fills /etc, and
# systemd reads it, before ordinary mounts.
#
# What doesn't work there, and wants a disk (`microvm.volumes`): the upper layer of an overlay (/var/lib/docker,
# /var/lib/containers), swap, and databases that should be fast: each fsync goes through to the hypervisor's disk.
{ config, lib, ... }:
let
  inherit (config.networking) hostName;
  cfg = config.hypervisor;
  inherit (import ../names.nix { inherit lib; } hostName cfg.vms.${hostName}) directory;
  persistent = [
    "etc"
    "var"
  ];
in
lib.mkIf (cfg.vms ? ${hostName}) {
  microvm.shares = [
    {
      proto = "virtiofs";
      tag = "store";
      source = "/nix/store";
      mountPoint = "/nix/.ro-store";
      readOnly = true;
    }
  ]
  ++ map (tag: {
    proto = "virtiofs";
    inherit tag;
    source = "${directory}/${tag}";
    mountPoint = "/${tag}";
  }) persistent;

  fileSystems = lib.listToAttrs (
    map (name: lib.nameValuePair "/${name}" { neededForBoot = true; }) persistent
  );
}
