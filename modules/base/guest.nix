# What a guest is made of, for guests.nix (a VM of its own) and copies.nix (one guest, many VMs).
{ cfg, lib }:
let
  pure = import ../lib;
  able = vm: pure.hypervisors.${vm.hypervisor};

  # Name in the guest (systemd.system-credentials(7) for those of systemd's own), file in the VM's identity/. QEMU's
  # firmware configuration has names of at most 55 characters, 27 of which are systemd's.
  credentials = [
    {
      id = "microvm-dev.ssh-host-key";
      file = "ssh_host_ed25519_key";
    }
    {
      id = "microvm-dev.authorized-keys";
      file = "authorized_keys";
    }
    {
      id = "system.machine_id";
      file = "machine-id";
    }
  ];
in
{
  inherit able;

  # The NixOS modules of a guest with `spec`: what each room says, then what the user says.
  modules =
    vm: spec:
    [
      ../guest
      {
        _module.args.vmSpec = spec;
        services.microvm-dev-guest = {
          inherit (vm) authorizedKeys;
          identityByCredentials = (able vm).credentials;
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

  # What the hypervisor of the VM `name` is told about who it is, as settings of microvm.nix. The rest comes by DHCP, to its
  # MAC, and by the shares of its own.
  identity = vm: name: {
    interfaces = lib.optional (cfg.specs.${name} ? network) {
      type = "tap";
      id = pure.names.tap name;
      inherit (cfg.specs.${name}.network) mac;
    };
    kernelParams = [
      "systemd.hostname=${name}"
    ]
    ++ lib.optional (!(able vm).credentials) "systemd.machine_id=${pure.names.machineId name}";
    # Where systemd puts what LoadCredential= of the VM's unit names.
    credentialFiles = lib.optionalAttrs (able vm).credentials (
      lib.listToAttrs (
        map ({ id, ... }: lib.nameValuePair id "/run/credentials/microvm@${name}.service/${id}") credentials
      )
    );
    vsock = lib.optionalAttrs (able vm).notify { cid = pure.names.cid name; };
  };

  # The VM's own part of its unit: limits, and what systemd hands the hypervisor, which is no root.
  unit =
    vm: name:
    let
      identity = "/var/lib/microvm-dev/${name}/identity";
    in
    {
      # Whatever the spec says differently, the VM has to hear.
      restartTriggers = [ (builtins.hashString "sha256" (builtins.toJSON cfg.specs.${name})) ];
      serviceConfig =
        lib.filterAttrs (_: value: value != null) {
          MemoryMax = lib.mapNullable (mib: "${toString mib}M") vm.limits.memory;
          CPUQuota = lib.mapNullable (percent: "${toString percent}%") vm.limits.cpu;
          TasksMax = vm.limits.tasks;
          IOWeight = vm.limits.io;
        }
        // lib.optionalAttrs (able vm).credentials {
          LoadCredential = map (credential: "${credential.id}:${identity}/${credential.file}") credentials;
        };
    };
}
