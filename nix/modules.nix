# The NixOS modules of the flake. `default` is the whole set with all it stands on; the others are its rooms, for those
# who put a host together themselves (they need microvm.nix's host module and the overlay, too).
{ microvm, overlay }:
{
  default = {
    imports = [
      microvm.nixosModules.host
      ../modules
    ];
    nixpkgs.overlays = [ overlay ];
  };
  base = ../modules/base;
  network = ../modules/network;
  storage = ../modules/storage;
  devenv = ../modules/devenv;
  cli = ../modules/cli;
}
