# Tests of the flake's outputs, hosts and examples, a file at a time: each is gigabytes of configurations.
{
  nixpkgs,
  microvm,
  # A name in this folder.
  file,
}:
let
  world = import ../eval/support/world.nix { inherit nixpkgs microvm; };
in
import ../run.nix {
  dir = ./.;
  files = [ file ];
  given = {
    inherit world;
    inherit (world) lib;
  };
}
