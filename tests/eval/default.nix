# The tests that need nixpkgs and microvm.nix. `world` is what support/world.nix gives, with the hosts that several
# tests look at.
{ nixpkgs, microvm }:
let
  world = import ./support/world.nix { inherit nixpkgs microvm; };
in
import ../run.nix {
  dir = ./.;
  given = {
    inherit (world) lib;
    world = world // {
      hosts = import ./support/hosts.nix world;
    };
  };
}
