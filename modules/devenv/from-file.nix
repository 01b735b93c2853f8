# A guest from what `mvm-devenv detect --json` found: the same options that `mvm-devenv --nix` prints.
{
  # Where it stands, for messages.
  file,
  # Its part `nixos`.
  nixos,
  # Whether databases among its services are wanted.
  databases,
}:
{
  lib,
  pkgs,
  vmSpec,
  ...
}:
let
  value = import ./value.nix { inherit lib pkgs vmSpec; };
  wanted = lib.filter (
    option: databases || !lib.elem (option.service or null) nixos.databases
  ) nixos.options;

  # In lists, what is missing is left out; elsewhere there is nothing else to set the option to.
  set =
    { path, value, ... }@option:
    lib.setAttrByPath path (
      lib.mkIf (builtins.isList value || lib.all isKnown (packages value)) (
        priority option (resolve value)
      )
    );
  inherit (value) isKnown packages resolve;

  # What the VM's own options say of variables and processes goes first; options of NixOS are as if they stood in
  # `guestConfig`, since many of them have defaults that a weaker value would not replace.
  priority =
    option:
    if lib.take 2 option.path == ours && !builtins.isList option.value then lib.mkDefault else lib.id;
  ours = [
    "services"
    "microvm-dev-guest"
  ];
in
{
  config = lib.mkMerge (
    map set wanted
    ++ [
      {
        assertions = map (path: {
          assertion = isKnown path;
          message = "microvm-dev: VM `${vmSpec.name}`: `devenv.fromFile`: ${file} wants the package `${lib.concatStringsSep "." path}`, which the guest's nixpkgs does not have; add it by an overlay in `guestConfig.nixpkgs.overlays`, or take it out of the project and make the file anew.";
        }) (lib.unique (lib.concatMap (option: packages option.value) wanted));
      }
    ]
  );
}
