# What every guest has. It learns from the VM's spec, which is the module argument `vmSpec`; of a guest with copies that
# is the first one's, so nothing here may depend on name, address or MAC.
{
  imports = [
    ./options.nix
    ./devenv.nix
    ./identity.nix
    ./login.nix
    ./network.nix
    ./project.nix
  ];
}
