# One evaluated guest, many runners. What a copy is told apart by reaches it when it runs: host name and, where there
# are no credentials, machine id on the kernel's command line; address by DHCP, to its MAC; keys by credentials or the
# share of its own. So a copy costs one small derivation, not an evaluation of NixOS.
{
  cfg,
  lib,
  pkgs,
}:
let
  pure = import ../lib;
  microvmLib = import (cfg.microvmNix + "/lib") { inherit lib; };

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

  # Where systemd puts what LoadCredential= of the VM's unit names.
  credentialFiles =
    name:
    lib.listToAttrs (
      map (
        { id, ... }:
        lib.nameValuePair id "/run/credentials/microvm@${name}.service/${id}"
      ) credentials
    );

  # The kernel's parameters that say who it is.
  kernelParams =
    name: vm:
    [ "systemd.hostname=${name}" ]
    ++ lib.optional (
      !pure.hypervisors.${vm.hypervisor}.credentials
    ) "systemd.machine_id=${pure.names.machineId name}";

  # The tap's name in the guest that stands for all copies; no VM can have it (pkgs/mvm-spec/src/name.rs).
  placeholder = "mvm_copy";

  # What makes a guest without copies a certain VM.
  identity = name: vm: {
    networking.hostName = name;
    microvm =
      lib.optionalAttrs (cfg.specs.${name} ? network) {
        interfaces = [
          {
            type = "tap";
            id = pure.names.tap name;
            inherit (cfg.specs.${name}.network) mac;
          }
        ];
      }
      // lib.optionalAttrs pure.hypervisors.${vm.hypervisor}.credentials {
        credentialFiles = credentialFiles name;
      }
      // lib.optionalAttrs pure.hypervisors.${vm.hypervisor}.notify { vsock.cid = pure.names.cid name; }
      // {
        kernelParams = kernelParams name vm;
      };
  };
in
{
  inherit credentials identity;

  # The same as microvm.nix's own `microvm.vms.<name>.config`, with modules and package set of the host.
  evaluate =
    modules:
    import (pkgs.path + "/nixos/lib/eval-config.nix") {
      modules = [
        (cfg.microvmNix + "/nixos-modules/microvm")
        (
          { vmSpec, ... }:
          {
            networking.hostName = "";
            microvm = {
              interfaces = lib.optional (vmSpec ? network) {
                type = "tap";
                id = placeholder;
                mac = "02:00:00:00:00:00";
              };
              vsock.cid = lib.mkIf pure.hypervisors.${vmSpec.guest.hypervisor}.notify 3;
            };
          }
        )
      ]
      ++ modules;
      inherit pkgs;
      system = pkgs.stdenv.hostPlatform.system;
    };

  # What microvm.nix's host module reads of a guest, for the copy `name`.
  of =
    guest: vm: name:
    let
      base = guest.config.microvm;
      spec = cfg.specs.${name};
      retap = lib.replaceStrings [ placeholder ] [ (pure.names.tap name) ];
    in
    {
      config = {
        system.build.toplevel = guest.config.system.build.toplevel;
        microvm = {
          # Asked only for directories to make.
          inherit (base) shares;
          declaredRunner = microvmLib.buildRunner {
            inherit pkgs;
            inherit (guest.config.system.build) toplevel;
            microvmConfig = base // {
              hostName = name;
              interfaces = lib.optional (spec ? network) (
                lib.head base.interfaces
                // {
                  id = pure.names.tap name;
                  inherit (spec.network) mac;
                }
              );
              kernelParams = base.kernelParams ++ kernelParams name vm;
              binScripts =
                base.binScripts
                // lib.mapAttrs (_: retap) (
                  lib.filterAttrs (
                    script: _:
                    lib.elem script [
                      "tap-up"
                      "tap-down"
                    ]
                  ) base.binScripts
                );
              credentialFiles =
                base.credentialFiles
                // lib.optionalAttrs pure.hypervisors.${vm.hypervisor}.credentials (credentialFiles name);
              vsock =
                base.vsock
                // lib.optionalAttrs pure.hypervisors.${vm.hypervisor}.notify { cid = pure.names.cid name; };
            };
          };
        };
      };
    };
}
