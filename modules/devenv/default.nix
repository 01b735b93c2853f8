# Guests for projects with a devenv or direnv environment: with devenv itself, or with what `mvm-devenv` found as NixOS' own
# services.
{
  imports = [
    ../base
    ./options.nix
    ./project.nix
    ./assertions.nix
    ./units.nix
  ];
}
