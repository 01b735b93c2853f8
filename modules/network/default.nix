# Where VMs are in the network, what they reach, and what leads to them.
{
  imports = [
    ../base
    ./options.nix
    ./vm.nix
    ./wiring.nix
    ./settings.nix
    ./units.nix
    ./firewall.nix
    ./links.nix
    ./assertions.nix
  ];
}
