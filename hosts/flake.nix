{
  description = "A hypervisor with isolated VMs, and a workstation";

  inputs.microvm-dev.url = "github:microvm-dev/microvm-dev";

  outputs =
    { self, microvm-dev }:
    {
      nixosConfigurations = import ./. {
        inherit self microvm-dev;
        # The revisions that microvm-dev is tested with.
        inherit (microvm-dev.inputs) nixpkgs microvm;
      };
    };
}
