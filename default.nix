# For people without flakes: the same packages, modules and hosts, of the same revisions as the flake.
#
#     nix-build -A microvm-dev
#     imports = [ (import ./microvm-dev { }).nixosModules.default ];
{
  system ? builtins.currentSystem,
  # Paths of nixpkgs and of microvm.nix, for revisions other than those of flake.lock.
  nixpkgs ? import ./nix/locked.nix "nixpkgs",
  microvm ? import ./nix/locked.nix "microvm",
}:
let
  overlay = import ./nix/overlay.nix;
  pkgs = import nixpkgs {
    inherit system;
    overlays = [ overlay ];
  };
  inputs = import ./nix/without-flakes.nix { inherit nixpkgs microvm; };
  self = {
    outPath = toString ./.;
    nixosModules = import ./nix/modules.nix {
      inherit (inputs) microvm;
      inherit overlay;
    };
    nixosConfigurations = import ./hosts {
      inherit self;
      inherit (inputs) nixpkgs microvm;
      microvm-dev = self;
    };
  };
in
{
  inherit (pkgs)
    microvm-dev
    microvm-dev-unwrapped
    microvm-dev-guest
    microvm-dev-kernel
    microvm-dev-manual
    ;
  inherit (self) nixosModules nixosConfigurations;
  shell = pkgs.callPackage ./nix/shell.nix { };
}
