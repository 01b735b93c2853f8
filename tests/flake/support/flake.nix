# The flake's outputs, from plain checkouts of its inputs instead of the flake machinery, which would fetch.
{ world, lib }:
let
  inputs = import ../../../nix/without-flakes.nix { inherit (world) nixpkgs microvm; };

  # What a checkout older than ours lacks; what takes long to evaluate and says nothing about us; and the one value that
  # every site must set.
  stubs =
    { lib, options, ... }:
    {
      imports = [ world.compat ];
      config = {
        documentation.enable = false;
      }
      // lib.optionalAttrs (options ? hypervisor) {
        hypervisor.authorizedKeys = lib.mkOverride 90 [ "ssh-ed25519 AAAA… of the tests" ];
      };
    };

  nixpkgs = inputs.nixpkgs // {
    lib = inputs.nixpkgs.lib // {
      nixosSystem =
        args: inputs.nixpkgs.lib.nixosSystem (args // { modules = args.modules ++ [ stubs ]; });
    };
    legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
      system: import world.nixpkgs { inherit system; }
    );
  };

  flake = import ../../../flake.nix;
  call =
    flake: inputs: self:
    flake.outputs (inputs // { inherit self; });
  # As Nix makes it: outputs, and what is known of the source. Hosts with our modules declare guests, which need the same.
  fix =
    flake: inputs: outPath:
    let
      outputs = call flake inputs self;
      self =
        outputs
        // {
          inherit inputs;
          outPath = toString outPath;
        }
        // lib.optionalAttrs (outputs ? nixosModules) {
          nixosModules = outputs.nixosModules // {
            default.imports = [
              outputs.nixosModules.default
              world.guests
            ];
          };
        };
    in
    self;
in
rec {
  inherit flake nixpkgs;
  self = fix flake {
    inherit nixpkgs;
    inherit (inputs) microvm;
  } ../../..;

  # The flake that `nix flake init -t …#hypervisor` leaves.
  hosts = fix (import ../../../hosts/flake.nix) { microvm-dev = self; } ../../../hosts;

  # A host with `modules` besides. Evaluated anew: what does without is quicker.
  extended =
    name: modules: (self.nixosConfigurations.${name}.extendModules { inherit modules; }).config;

  # Forces a derivation; the store path says nothing.
  builds = derivation: lib.hasSuffix ".drv" derivation.drvPath;
}
