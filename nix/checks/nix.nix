# Layout, dead code and tests of the Nix code. The tests are evaluated with the flake: a failure is an error of its own.
{
  lib,
  runCommand,
  deadnix,
  nixfmt-rfc-style,
  emptyFile,
  sources,
  self,
}:
let
  # Nothing if all tests of the folder pass, else an error that has those that don't.
  evaluated =
    dir: given:
    let
      result = import ../../tests/run.nix { inherit dir given; };
    in
    if result.failed == [ ] then
      emptyFile
    else
      throw "tests of ${toString dir} fail: ${lib.generators.toPretty { } result.failed}";

  world = import ../../tests/eval/support/world.nix {
    nixpkgs = self.inputs.nixpkgs.outPath;
    microvm = self.inputs.microvm.outPath;
  };
in
{
  pure = evaluated ../../tests/pure { };

  eval = evaluated ../../tests/eval {
    inherit world;
    inherit (world) lib;
  };

  nix =
    runCommand "microvm-dev-nix"
      {
        nativeBuildInputs = [
          deadnix
          nixfmt-rfc-style
        ];
      }
      ''
        cd ${sources.nix}
        find . -name '*.nix' -exec nixfmt --check {} +
        deadnix --fail .
        touch $out
      '';
}
