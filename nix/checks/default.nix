# `nix flake check`: what can be tried in a build. scripts/test tries more: real guests, namespaces, a real systemd.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  sources = import ../sources.nix { inherit lib; };
  vmTests = import ../../tests/vm { inherit pkgs self; };
in
pkgs.callPackages ./rust.nix { inherit sources; }
// pkgs.callPackages ./nix.nix { inherit sources self; }
// lib.mapAttrs' (name: lib.nameValuePair "vm-${name}") vmTests
