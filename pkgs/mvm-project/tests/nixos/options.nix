# Those options of `services` (JSON of `mvm-devenv services`) that NixOS does not have.
{ nixpkgs, services }:
let
  lib = import (nixpkgs + "/lib");
  # Which options there are does not depend on any configuration: nothing is set, nothing built.
  evaluated = import (nixpkgs + "/nixos/lib/eval-config.nix") {
    system = "x86_64-linux";
    modules = [ ];
  };
  # Below an option of a free-form or attribute-set type, any name is right.
  exists =
    options: path:
    path == [ ]
    || (options._type or null) == "option"
    || (builtins.hasAttr (lib.head path) options && exists options.${lib.head path} (lib.tail path));
  paths = lib.concatMap (service: service.nixosOptions) (builtins.fromJSON services);
in
map (lib.concatStringsSep ".") (lib.filter (path: !exists evaluated.options path) paths)
