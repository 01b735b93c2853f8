# The NixOS modules of the flake. `default` is the whole set with all it stands on; the others are its rooms, for those
# who put a host together themselves (they need microvm.nix's host module and the overlay, too).
{ microvm, overlay }:
let
  # By their paths, so that NixOS sees that a room imported twice is one.
  room = path: { imports = [ path ]; };
in
{
  default = {
    imports = [
      microvm.nixosModules.host
      ../modules
    ];
    nixpkgs.overlays = [ overlay ];
  };
  base = room ../modules/base;
  network = room ../modules/network;
  storage = room ../modules/storage;
  devenv = room ../modules/devenv;
  cli = room ../modules/cli;
}
