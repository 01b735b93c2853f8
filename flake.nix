{
  description = "Isolated, disposable development machines for a project directory";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    microvm = {
      url = "github:microvm-nix/microvm.nix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      microvm,
    }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forEachSystem =
        function:
        nixpkgs.lib.genAttrs systems (
          system: function (nixpkgs.legacyPackages.${system}.extend self.overlays.default)
        );
    in
    {
      overlays.default = import ./nix/overlay.nix;

      nixosModules = import ./nix/modules.nix {
        inherit microvm;
        overlay = self.overlays.default;
      };

      nixosConfigurations = import ./hosts {
        inherit self nixpkgs microvm;
        microvm-dev = self;
      };

      packages = forEachSystem (import ./nix/packages);
      apps = forEachSystem (import ./nix/apps.nix);
      devShells = forEachSystem (pkgs: {
        default = pkgs.callPackage ./nix/shell.nix { };
      });
      formatter = forEachSystem (pkgs: pkgs.nixfmt-tree);
      checks = forEachSystem (pkgs: import ./nix/checks { inherit pkgs self; });
      templates = import ./nix/templates.nix { inherit (nixpkgs) lib; };
    };
}
