# The outputs of flake.nix, all of them, and that default.nix and flake.lock agree with it.
{ lib, world, ... }:
let
  support = import ./support/flake.nix { inherit lib world; };
  inherit (support) builds self;
  lock = builtins.fromJSON (builtins.readFile ../../flake.lock);
  systems = [
    "aarch64-linux"
    "x86_64-linux"
  ];
  packages = [
    "default"
    "microvm-dev"
    "microvm-dev-guest"
    "microvm-dev-kernel"
    "microvm-dev-manual"
    "microvm-dev-unwrapped"
  ];
  without = import ../../default.nix {
    system = "x86_64-linux";
    inherit (world) nixpkgs microvm;
  };
  forBoth = value: lib.genAttrs systems (_: value);
in
{
  "the flake has outputs of every kind" = {
    expr = lib.attrNames (
      removeAttrs self [
        "inputs"
        "outPath"
      ]
    );
    expected = [
      "apps"
      "checks"
      "devShells"
      "formatter"
      "nixosConfigurations"
      "nixosModules"
      "overlays"
      "packages"
      "templates"
    ];
  };

  "the lock file locks the flake's inputs, and nothing else" = {
    expr = {
      inputs = lib.attrNames lock.nodes.root.inputs;
      nodes = lib.attrNames lock.nodes;
      follows = lock.nodes.microvm.inputs.nixpkgs;
      branch = "github:${lock.nodes.nixpkgs.original.owner}/${lock.nodes.nixpkgs.original.repo}/${lock.nodes.nixpkgs.original.ref}";
    };
    expected = {
      inputs = lib.attrNames support.flake.inputs;
      nodes = [
        "microvm"
        "nixpkgs"
        "root"
        "spectrum"
      ];
      follows = [ support.flake.inputs.microvm.inputs.nixpkgs.follows ];
      branch = support.flake.inputs.nixpkgs.url;
    };
  };

  "every package evaluates, for both systems" = {
    expr = lib.mapAttrs (_: lib.mapAttrs (_: builds)) self.packages;
    expected = forBoth (lib.genAttrs packages (_: true));
  };

  "default.nix has the same packages as the flake" = {
    expr = lib.genAttrs (lib.tail packages) (
      name: without.${name}.drvPath == self.packages.x86_64-linux.${name}.drvPath
    );
    expected = lib.genAttrs (lib.tail packages) (_: true);
  };

  "and the same modules and hosts, and a shell" = {
    expr = {
      modules = lib.attrNames without.nixosModules;
      hosts = lib.attrNames without.nixosConfigurations;
      shell = builds without.shell;
    };
    expected = {
      modules = lib.attrNames self.nixosModules;
      hosts = lib.attrNames self.nixosConfigurations;
      shell = true;
    };
  };

  "each app is a program of the package" = {
    expr = lib.mapAttrs (_: app: {
      inherit (app) type;
      program = lib.removePrefix "${self.packages.x86_64-linux.default}/bin/" app.program;
    }) self.apps.x86_64-linux;
    expected =
      lib.mapAttrs
        (_: program: {
          type = "app";
          inherit program;
        })
        {
          create-microvm-env = "create-microvm-env";
          default = "mvm";
          mvm = "mvm";
          mvm-devenv = "mvm-devenv";
          mvm-ports = "mvm-ports";
          mvm-spec = "mvm-spec";
        };
  };

  "only where there is a bzImage is there a kernel for embedded guests" = {
    expr = lib.mapAttrs (_: packages: packages.default.kernel != null) self.packages;
    expected = {
      aarch64-linux = false;
      x86_64-linux = true;
    };
  };

  "shell and formatter evaluate, for both systems" = {
    expr = {
      shells = lib.mapAttrs (_: shells: builds shells.default) self.devShells;
      formatters = lib.mapAttrs (_: builds) self.formatter;
    };
    expected = {
      shells = forBoth true;
      formatters = forBoth true;
    };
  };

  # Not those that evaluate other tests than these.
  "every check evaluates, NixOS VM tests with all their machines too" = {
    expr = lib.mapAttrs (_: builds) (
      removeAttrs self.checks.x86_64-linux [
        "eval"
        "examples"
        "hosts"
      ]
    );
    expected = lib.genAttrs [
      "contract"
      "format"
      "lints"
      "nix"
      "pure"
      "tests"
      "vm-hypervisor"
      "vm-module"
    ] (_: true);
  };

  "both systems have the same checks" = {
    expr = lib.attrNames self.checks.aarch64-linux;
    expected = lib.attrNames self.checks.x86_64-linux;
  };

  "every example is a template, and so are the hosts" = {
    expr = lib.attrNames self.templates;
    expected = lib.sort lib.lessThan (
      [ "hypervisor" ] ++ lib.attrNames (builtins.readDir ../../examples)
    );
  };

  "every template says what it is, in a line, and has a README" = {
    expr = lib.filterAttrs (
      _: template:
      !(
        builtins.pathExists (template.path + "/README.md")
        && builtins.match "[A-Z][^\n]{10,150}" template.description != null
      )
    ) self.templates;
    expected = { };
  };

  "sources of the packages hold nothing but what they are built from" = {
    expr =
      let
        sources = import ../../nix/sources.nix { inherit lib; };
        takes =
          source: path: type:
          source.filter (toString (../.. + "/${path}")) type;
      in
      {
        code = takes sources.rust "pkgs/mvm/src/main.rs" "regular";
        page = takes sources.rust "docs/README.md" "regular";
        nix = takes sources.rust "modules/default.nix" "regular";
        alike = takes sources.rust "Cargo.toml.orig" "regular";
        pageOfManual = takes sources.docs "docs/README.md" "regular";
        codeOfManual = takes sources.docs "pkgs/mvm/src/main.rs" "regular";
      };
    expected = {
      code = true;
      page = false;
      nix = false;
      alike = false;
      pageOfManual = true;
      codeOfManual = false;
    };
  };
}
