# `services.microvm-dev`: development VMs on microvm.nix. Needs microvm.nix's host module beside it, and the package
# set's overlay or `services.microvm-dev.package`.
#
# Each folder is a room: its options (those of the host, and those it adds to each VM) and what follows from them.
{
  imports = [
    ./base
    ./network
    ./storage
    ./devenv
    ./cli
  ];
}
