# The file of `devenv.fromFile` of a VM, and what is wrong with it. Nothing is read before it is known to be there.
{ lib }:
let
  version = 1;
  isBuilt = path: lib.any (source: source ? outputs) (lib.attrValues (builtins.getContext "${path}"));
  again = "make it with `mvm-devenv detect --json >microvm.json` in the project";
in
rec {
  # The options of the guest that the file tells.
  nixos = path: (builtins.fromJSON (builtins.readFile path)).nixos;

  # Why there are none, or null.
  problem =
    path:
    if isDerivation path then
      "is what a derivation makes: evaluating the host would have to build it. Commit the file, and give its path."
    else if !builtins.pathExists path then
      "is ${toString path}, which is not there; ${again}, and commit it: a flake sees only what git knows."
    else if (builtins.fromJSON (builtins.readFile path)).nixos.version or null != version then
      "is ${toString path}, which has no options of NixOS of version ${toString version}; ${again}, by the `mvm-devenv` of this package."
    else
      null;

  isDerivation = path: lib.isDerivation path || (builtins.isString path && isBuilt path);
}
