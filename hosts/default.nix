# The machines: a hypervisor, the VMs of its table, and a workstation.
{
  # The flake that these configurations are outputs of: the hypervisor takes its VMs from there.
  self,
  nixpkgs,
  microvm,
  microvm-dev,
}:
let
  machine =
    modules:
    nixpkgs.lib.nixosSystem {
      specialArgs = { inherit self microvm microvm-dev; };
      inherit modules;
    };

  # A VM of the table needs no directory of its own, unless something is special about it.
  vm =
    name: _row:
    machine (
      if builtins.pathExists (./. + "/${name}") then
        [ (./. + "/${name}") ]
      else
        [
          ./hypervisor/guest
          { networking.hostName = name; }
        ]
    );
in
builtins.mapAttrs vm (import ./hypervisor/vms.nix)
// {
  hypervisor = machine [ ./hypervisor ];
  workstation = machine [ ./workstation ];
}
