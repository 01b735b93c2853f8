# What can't be about a project's environment, before there is a guest: each message with the VM, the option and the fix.
{ lib, world, ... }:
let
  place = toString ../contract/project;
  shop =
    vm:
    map (lib.replaceStrings [ place ] [ "PROJECT" ]) (world.failed (world.sketch { vms.shop = vm; }));
in
{
  "looking for the file without a place to look" = {
    expr = shop { autoConfigureDevenv = true; };
    expected = [
      "microvm-dev: VM `shop`: `autoConfigureDevenv` needs to know where the project is when the host is evaluated; set `devenv.source` to its path in Nix, `./shop` or a flake input."
    ];
  };
  "a project without the file" = {
    expr = shop {
      autoConfigureDevenv = true;
      devenv.source = ../contract/project/nowhere;
    };
    expected = [
      "microvm-dev: VM `shop`: `devenv.fromFile` is PROJECT/nowhere/microvm.json, which is not there; make it with `mvm-devenv detect --json >microvm.json` in the project, and commit it: a flake sees only what git knows."
    ];
  };
  "a file without options of NixOS" = {
    expr =
      map (message: lib.hasInfix "has no options of NixOS of version 1; make it with" message)
        (shop {
          devenv.fromFile = ../contract/minimal.json;
        });
    expected = [ true ];
  };
  "a file that would have to be built" = {
    expr = shop { devenv.fromFile = world.pkgs.writeText "microvm.json" "{ }"; };
    expected = [
      "microvm-dev: VM `shop`: `devenv.fromFile` is what a derivation makes: evaluating the host would have to build it. Commit the file, and give its path."
    ];
  };
  "and a file in what would have to be built" = {
    expr = lib.length (shop {
      autoConfigureDevenv = true;
      devenv.source = world.pkgs.hello;
    });
    expected = 1;
  };
}
