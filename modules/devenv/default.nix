# Guests for projects with a devenv or direnv environment.
{
  imports = [
    ../base
    ./options.nix
    ./units.nix
  ];
}
