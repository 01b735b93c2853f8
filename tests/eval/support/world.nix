# What the tests evaluate against: nixpkgs and microvm.nix, from plain paths.
{ nixpkgs, microvm }:
let
  lib = import (nixpkgs + "/lib");
  system = "x86_64-linux";

  # Options that microvm.nix sets, and NixOS of 24.11 doesn't have yet.
  compat =
    { lib, ... }:
    lib.optionalAttrs (!builtins.pathExists (nixpkgs + "/nixos/modules/system/boot/systemd/tpm2.nix")) {
      options.boot.initrd.systemd.tpm2.enable = lib.mkEnableOption "nothing";
      options.systemd.tpm2.enable = lib.mkEnableOption "nothing";
    };

  # What every host must say to be evaluable, and nothing else.
  base =
    { pkgs, ... }:
    {
      imports = [
        (microvm + "/nixos-modules/host")
        ../../../modules
      ];
      # Specs are checked where packages are built; what a test compares is evaluated.
      services.microvm-dev.package = pkgs.runCommand "microvm-dev" { } "mkdir $out";
      boot.loader.grub.enable = false;
      fileSystems."/" = {
        device = "/dev/vda";
        fsType = "ext4";
      };
      documentation.enable = false;
      system.stateVersion = "24.11";
      nixpkgs.hostPlatform = system;
    };

  # For every VM of a host, whatever it is called.
  guests =
    { lib, ... }:
    {
      options.services.microvm-dev.vms = lib.mkOption {
        type = lib.types.attrsOf (lib.types.submodule { guestModules = [ compat ]; });
      };
    };
in
rec {
  inherit
    compat
    guests
    lib
    microvm
    nixpkgs
    system
    ;

  # A NixOS host with our modules and `modules`.
  evalHost =
    modules:
    import (nixpkgs + "/nixos/lib/eval-config.nix") {
      system = null;
      modules = [
        base
        guests
      ]
      ++ modules;
    };

  # Our options and what follows from them directly (specs, wiring, what can't be), without NixOS around: fifty times
  # as quick. What units and guests become, a host shows.
  sketch = sketchWith [ ];
  sketchWith = modules: settings: (sketched modules settings).config;
  sketched =
    modules: settings:
    lib.evalModules {
      modules = modules ++ [
        ../../../modules
        (microvm + "/nixos-modules/host/options.nix")
        (nixpkgs + "/nixos/modules/misc/assertions.nix")
        {
          config._module.freeformType = lib.types.lazyAttrsOf lib.types.anything;
          config._module.args.pkgs = pkgs;
          options.networking.interfaces = lib.mkOption {
            type = lib.types.anything;
            default = { };
          };
          config.system.stateVersion = "24.11";
          config.services.microvm-dev = {
            enable = true;
          }
          // settings;
        }
      ];
    };

  pkgs = import nixpkgs { inherit system; };

  # Messages of what can't be, ours only.
  failed =
    config:
    lib.filter (lib.hasPrefix "microvm-dev:") (
      map (assertion: assertion.message) (lib.filter (assertion: !assertion.assertion) config.assertions)
    );

  # The text of a unit, without the store's hashes and what only the package set's version decides.
  unit = config: name: anonymous config.systemd.units.${name}.text;

  # The same without what NixOS sets for every unit: paths of its own programs and locales.
  ownLines =
    config: name:
    lib.concatStringsSep "\n" (
      lib.filter (line: !lib.hasPrefix "Environment=" line) (lib.splitString "\n" (unit config name))
    );

  # Where versions are told from names, numbers of copies are not.
  anonymous =
    text:
    let
      parts = builtins.split "/nix/store/[0-9a-z]{32}-([A-Za-z0-9+_.?=-]*)" (
        builtins.unsafeDiscardStringContext text
      );
      name = match: lib.head (builtins.split "-[0-9]+\\.[0-9]" (lib.head match));
      show = part: if builtins.isList part then "/nix/store/…-${name part}" else part;
    in
    lib.concatMapStrings show parts;

  # For hosts whose runners are to be read: scripts are put where they would be linked from.
  legible = {
    nixpkgs.overlays = [
      (_final: prev: {
        writeShellScript = name: text: "<<${name}\n${text}>>";
        writeText =
          name: text:
          if lib.hasSuffix "-virtiofsd-supervisord.conf" name then
            "<<${name}\n${text}>>"
          else
            prev.writeText name text;
      })
    ];
  };

  # The configuration of the guest of the VM `name`; of a copy, the one of all.
  guest =
    config: name:
    let
      cfg = config.services.microvm-dev;
      inherit (lib.findFirst (instance: instance.name == name) (throw "no VM ${name}") cfg.instances)
        family
        index
        ;
    in
    if index == 0 then config.microvm.vms.${name}.config.config else cfg.guests.${family};

  # Of a legible host, what runs the VM `name`.
  runner =
    config: name:
    anonymous
      (config.services.microvm-dev.runners.${name} or (guest config name).microvm.declaredRunner)
      .buildCommand;
}
