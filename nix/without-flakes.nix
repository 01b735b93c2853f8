# What this project uses of its flake inputs, from plain checkouts of them.
{
  # Path of nixpkgs.
  nixpkgs,
  # Path of microvm.nix.
  microvm,
}:
let
  lib = import (nixpkgs + "/lib");
in
{
  nixpkgs = {
    outPath = toString nixpkgs;
    lib = lib // {
      nixosSystem = args: import (nixpkgs + "/nixos/lib/eval-config.nix") ({ system = null; } // args);
    };
  };
  microvm = {
    outPath = toString microvm;
    lib = import (microvm + "/lib") { inherit lib; };
    nixosModules = {
      host = microvm + "/nixos-modules/host";
      microvm = microvm + "/nixos-modules/microvm";
    };
  };
}
