# What of the host a VM sees, and what it keeps.
{
  imports = [
    ../base
    ./options.nix
    ./guests.nix
    ./assertions.nix
  ];
}
