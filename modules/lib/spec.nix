# The one place where options become the wire format: VM spec, version 1 (docs/reference/spec.md). What has its default
# is left out, as the Rust side writes it. `mvm-spec check` reads the result in its build.
let
  optional = condition: attrs: if condition then attrs else { };

  egress =
    policy:
    if policy == "outbound" then
      { }
    else if policy == "none" then
      { egress.policy = "none"; }
    else
      {
        egress = {
          policy = "allow";
          to = policy;
        };
      };

  forward =
    {
      proto,
      address,
      host,
      guest,
    }:
    optional (address != null) { inherit address; }
    // {
      inherit proto host guest;
    };
in
{
  # `vm`: the options of one declared VM. `name`: of the instance. `place`: bridge, address and gateway, null without
  # network. `forwards`, `peers`: of the instance, settled.
  make =
    {
      vm,
      name,
      place,
      mac,
      forwards,
      peers,
    }:
    {
      version = 1;
      inherit name;
      resources = {
        inherit (vm) vcpu;
        memMib = vm.mem;
      };
      guest = {
        kind = "nixos";
        inherit (vm) hypervisor;
      };
      user = {
        inherit (vm.user) name uid gid;
      };
      persistence = {
        enable = vm.persistState or false;
      }
      // optional (vm.stateDiskSize or null != null) { homeMib = vm.stateDiskSize; };
    }
    // optional (vm.projectDir or null != null && vm.overlayfs.enable) {
      project.path = vm.projectDir;
    }
    // optional (place != null) {
      network =
        place // { inherit mac; } // egress vm.egress // optional (peers != [ ]) { inherit peers; };
    }
    // optional (forwards != [ ]) { forwards = map forward forwards; }
    // optional (vm.environment != { }) { inherit (vm) environment; };
}
