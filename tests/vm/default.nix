# NixOS VM tests: each file here is one. They need KVM, and a good while; scripts/test evaluates them only.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  files = lib.attrNames (removeAttrs (builtins.readDir ./.) [ "default.nix" ]);
in
lib.genAttrs (map (lib.removeSuffix ".nix") files) (
  name: pkgs.testers.runNixOSTest (import (./. + "/${name}.nix") { inherit self; })
)
