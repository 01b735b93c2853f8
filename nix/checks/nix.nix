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
  # Nothing if all tests passed, else an error that has those that didn't.
  passed =
    name: result:
    if result.failed == [ ] then
      emptyFile
    else
      throw "tests/${name} fails: ${lib.generators.toPretty { } result.failed}";

  inputs = {
    nixpkgs = self.inputs.nixpkgs.outPath;
    microvm = self.inputs.microvm.outPath;
  };
in
{
  pure = passed "pure" (import ../../tests/run.nix { dir = ../../tests/pure; });

  eval = passed "eval" (import ../../tests/eval inputs);
  hosts = passed "flake" (import ../../tests/flake (inputs // { file = "hosts.nix"; }));
  examples = passed "flake" (import ../../tests/flake (inputs // { file = "examples.nix"; }));

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
