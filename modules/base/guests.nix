# Guests, as microvm.nix wants them. A VM without copies is an ordinary `microvm.vms` entry; a VM with copies is
# evaluated once, here, and each copy is a runner of it (copies.nix).
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.microvm-dev;
  pure = import ../lib;
  copies = import ./copies.nix { inherit cfg lib pkgs; };
  hypervisor = vm: pure.hypervisors.${vm.hypervisor};
  single = name: cfg.vms.${name}.copies == null;

  # What each room says, then what the user says.
  modules =
    vm: spec:
    [
      ../guest
      {
        _module.args.vmSpec = spec;
        services.microvm-dev-guest = {
          inherit (vm) authorizedKeys;
          identityByCredentials = (hypervisor vm).credentials;
        };
        system.stateVersion = lib.mkDefault vm.stateVersion;
        microvm = {
          inherit (vm) hypervisor mem vcpu;
          # By default the name's hash, which would be in /etc of all copies; ours comes at run time.
          machineId = null;
          # Not named after the host: copies are one guest.
          socket = "control.sock";
        };
      }
    ]
    ++ vm.parts
    ++ vm.guestModules
    ++ [ vm.guestConfig ];

  limits =
    vm:
    lib.filterAttrs (_: value: value != null) {
      MemoryMax = lib.mapNullable (mib: "${toString mib}M") vm.limits.memory;
      CPUQuota = lib.mapNullable (percent: "${toString percent}%") vm.limits.cpu;
      TasksMax = vm.limits.tasks;
      IOWeight = vm.limits.io;
    };

  # Systemd hands the hypervisor, which is no root, what the guest is to get.
  credentials =
    vm: name:
    lib.optionalAttrs (hypervisor vm).credentials {
      LoadCredential = map (
        credential: "${credential.id}:/var/lib/microvm-dev/${name}/identity/${credential.file}"
      ) copies.credentials;
    };

  unit =
    { family, name, ... }:
    {
      name = "microvm@${name}";
      value = {
        # Whatever the spec says differently, the VM has to hear.
        restartTriggers = [ (builtins.hashString "sha256" (builtins.toJSON cfg.specs.${name})) ];
        serviceConfig = limits cfg.vms.${family} // credentials cfg.vms.${family} name;
      };
    };

  guest =
    { family, name, ... }:
    let
      vm = cfg.vms.${family};
    in
    {
      inherit name;
      value = {
        inherit (vm) autostart;
        restartIfChanged = true;
      }
      // (
        if single family then
          {
            config = {
              imports = modules vm cfg.specs.${name} ++ [ (copies.identity name vm) ];
            };
          }
        else
          { evaluatedConfig = copies.of evaluated.${family} vm name; }
      );
    };

  # Of a family with copies: the first one's spec stands for all, in what they have in common.
  evaluated = lib.mapAttrs (family: vm: copies.evaluate (modules vm cfg.specs."${family}-1")) (
    lib.filterAttrs (_: vm: vm.enable && vm.copies != null) cfg.vms
  );
in
{
  config = lib.mkIf cfg.enable {
    microvm.vms = lib.listToAttrs (map guest cfg.instances);
    systemd.services = lib.listToAttrs (map unit cfg.instances);
  };
}
