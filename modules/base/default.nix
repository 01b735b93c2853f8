# What a VM is: the declared ones, their specs, the guests that microvm.nix builds, the units around them.
{
  imports = [
    ./options.nix
    ./vm.nix
    ./specs.nix
    ./guests.nix
    ./copies.nix
    ./units.nix
    ./assertions.nix
  ];
}
