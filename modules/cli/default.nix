# `mvm` on the host, and who may use it on the declared VMs.
{
  imports = [
    ../base
    ./packages.nix
    ./polkit.nix
    ./gate.nix
  ];
}
