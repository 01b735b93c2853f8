{ lib, ... }:
let
  inherit (lib) mkOption types;

  # Packages of the guest, which it asks its own package set for.
  part =
    vm:
    { pkgs, ... }:
    {
      environment.systemPackages = [ pkgs.devenv ];
      programs.direnv.enable = true;
      # devenv builds in the guest: a store that can be written to, and thrown away.
      nix.settings.experimental-features = [
        "nix-command"
        "flakes"
      ];
      microvm.writableStoreOverlay = lib.mkIf vm.devenv.writableStore "/nix/.rw-store";
    };

  vm =
    { config, ... }:
    {
      options.devenv = {
        enable = lib.mkEnableOption "`devenv` and direnv in the guest";

        writableStore = mkOption {
          type = types.bool;
          default = true;
          description = "Whether Nix can build in the guest. What it builds is in memory, and gone with a stop.";
        };

        watch = mkOption {
          type = types.bool;
          default = false;
          description = "Whether the host's journal says when devenv files of the project changed, so that the guest's environment is old.";
        };
      };

      config.parts = lib.mkIf config.devenv.enable [ (part config) ];
    };
in
{
  options.services.microvm-dev.vms = mkOption { type = types.attrsOf (types.submodule vm); };
}
