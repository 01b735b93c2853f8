# What can't be, about shares and disks. Each message names the VM, the option and the fix.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  hypervisors = (import ../lib).hypervisors;
  vms = lib.filterAttrs (_: vm: vm.enable) cfg.vms;

  # An absolute path of a directory other than the root, as systemd and the overlay take it.
  isPath =
    path:
    lib.hasPrefix "/" path
    && path != "/"
    && builtins.match "(.*/)?\\.\\.?(/.*)?|.*//.*|.*[:\n].*" path == null;
  inStore = path: path == builtins.storeDir || lib.hasPrefix "${builtins.storeDir}/" path;
  able = vm: lib.concatStringsSep ", " hypervisors.${vm.hypervisor}.shares;
  duplicates =
    list: lib.attrNames (lib.filterAttrs (_: same: lib.length same > 1) (lib.groupBy lib.id list));

  ofVm =
    name: vm:
    let
      say = option: text: "microvm-dev: VM `${name}`: `${option}` ${text}";
      inherit (hypervisors.${vm.hypervisor}) shares readOnly9p;
      wants =
        lib.optional (vm.projectDir != null) "projectDir" ++ lib.optional (vm.shares != [ ]) "shares";
      readOnly =
        vm.shareStore == true
        || (vm.projectDir != null && !vm.overlayfs.enable)
        || lib.any (share: share.readOnly) vm.shares;
    in
    [
      {
        assertion = vm.projectDir != null -> isPath vm.projectDir;
        message = say "projectDir" "is `${toString vm.projectDir}`: write an absolute path, with a leading slash, without `.`, `..`, `//` or `:`.";
      }
      {
        assertion = vm.projectDir != null -> !inStore vm.projectDir;
        message = say "projectDir" "is `${toString vm.projectDir}`, in the Nix store: a copy, which does not follow your changes. Write the directory as a string, \"/home/…\", not as a Nix path.";
      }
      {
        assertion = wants != [ ] -> shares != [ ];
        message = say (toString (lib.take 1 wants)) "asks for a directory of the host, and `hypervisor` ${vm.hypervisor} has no shared directories. Leave it out, or use qemu or cloud-hypervisor.";
      }
      {
        assertion = wants != [ ] && shares != [ ] -> lib.elem vm.shareProtocol shares;
        message = say "shareProtocol" "is ${vm.shareProtocol}, which `hypervisor` ${vm.hypervisor} doesn't speak; use ${able vm}.";
      }
      {
        assertion = vm.shareStore == true -> lib.elem vm.shareProtocol shares;
        message = say "shareStore" "is set, and `hypervisor` ${vm.hypervisor} has no shares by ${vm.shareProtocol}. Leave it out: the guest then boots from an image.";
      }
      {
        assertion = vm.shareProtocol == "9p" && readOnly && lib.elem "9p" shares -> readOnly9p;
        message = say "shareProtocol" "is 9p, which `hypervisor` ${vm.hypervisor} has for writable directories only: what is shared read-only would not be. Use virtiofs, or another hypervisor.";
      }
      {
        assertion = vm.persistState -> vm.stateDiskSize != null;
        message = say "persistState" "needs a disk; set `stateDiskSize`, in MiB, to 8192 for example.";
      }
      {
        assertion = vm.stateDiskSize != null -> vm.persistState;
        message = say "stateDiskSize" "is the size of a disk that there is only with `persistState = true`. Set that, or leave the size out.";
      }
    ]
    ++
      map
        (tag: {
          assertion = false;
          message = say "shares" "has the tag `${tag}` twice; rename one. `project`, `identity` and `ro-store` are taken.";
        })
        (
          duplicates (
            map (share: share.tag) vm.shares
            ++ [
              "project"
              "identity"
              "ro-store"
            ]
          )
        )
    ++
      map
        (point: {
          assertion = false;
          message = say "shares" "and `volumes` mount two things at `${point}`. Move one.";
        })
        (
          duplicates (
            map (share: share.mountPoint) vm.shares
            ++ map (volume: volume.mountPoint) vm.volumes
            ++ lib.optional (vm.projectDir != null) "/project"
            ++ lib.optional vm.persistState "/var"
          )
        )
    ++ lib.concatMap (share: [
      {
        assertion = isPath share.source && isPath share.mountPoint;
        message = say "shares" "leads `${share.source}` to `${share.mountPoint}`: both are absolute paths, without `.`, `..`, `//` or `:`.";
      }
    ]) vm.shares
    ++ lib.concatMap (volume: [
      {
        assertion = isPath volume.mountPoint;
        message = say "volumes" "mounts `${volume.image}` at `${volume.mountPoint}`: write an absolute path.";
      }
      {
        assertion = vm.copies != null && !volume.readOnly -> !lib.hasPrefix "/" volume.image;
        message = say "volumes" "gives all copies the one disk `${volume.image}`, which none of them would survive. Write a file name without directories: each copy then has its own.";
      }
    ]) vm.volumes;
in
{
  config = lib.mkIf cfg.enable {
    assertions = lib.concatLists (lib.mapAttrsToList ofVm vms);
  };
}
