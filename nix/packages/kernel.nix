# nixpkgs' kernel with its modules in one tree, as `mvm` looks for them: boot/vmlinuz-RELEASE beside lib/modules/RELEASE
# (`module_dirs` in pkgs/mvm-host/src/boot/kernel.rs). Links only; nothing is built.
{
  lib,
  stdenv,
  linkFarm,
  linuxPackages,
}:
let
  inherit (linuxPackages) kernel;
  target = kernel.target or stdenv.hostPlatform.linux-kernel.target;
in
linkFarm "microvm-dev-kernel-${kernel.modDirVersion}" {
  "boot/vmlinuz-${kernel.modDirVersion}" = "${kernel}/${target}";
  # Kernels have their modules in an output of their own since nixpkgs 25.11.
  "lib/modules" = "${lib.getOutput "modules" kernel}/lib/modules";
}
// {
  image = "boot/vmlinuz-${kernel.modDirVersion}";
}
