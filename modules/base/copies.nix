# Copies: one evaluated guest, many runners. A copy costs the evaluation of a small derivation and of its unit's limits. It
# is no entry of `microvm.vms`, each of which is five units and, for its guest, seconds.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.microvm-dev;
  guest = import ./guest.nix { inherit cfg lib; };
  microvmLib = import (cfg.microvmNix + "/lib") { inherit lib; };
  families = lib.filterAttrs (_: vm: vm.enable && vm.copies != null) cfg.vms;
  copies = lib.filter (instance: instance.index != 0) cfg.instances;

  # Stands for the name of every copy's tap in the guest; no VM has it (pkgs/mvm-spec/src/name.rs).
  placeholder = "mvm_copy";

  # The same as microvm.nix's own `microvm.vms.<name>.config`, with modules and package set of the host. The first copy's
  # spec stands for all, in what they have in common.
  evaluate =
    family: vm:
    (import (pkgs.path + "/nixos/lib/eval-config.nix") {
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
              vsock.cid = lib.mkIf (guest.able vm).notify 3;
            };
          }
        )
      ]
      ++ guest.modules vm cfg.specs."${family}-1";
      inherit pkgs;
      system = pkgs.stdenv.hostPlatform.system;
    }).config;
  guests = lib.mapAttrs evaluate families;

  runner =
    { family, name, ... }:
    let
      base = guests.${family}.microvm;
      identity = guest.identity families.${family} name;
      retap = lib.replaceStrings [ placeholder ] (map (interface: interface.id) identity.interfaces);
      taps = lib.optionals (identity.interfaces != [ ]) [
        "tap-up"
        "tap-down"
      ];
    in
    microvmLib.buildRunner {
      inherit pkgs;
      inherit (guests.${family}.system.build) toplevel;
      microvmConfig = base // {
        hostName = name;
        # The options that an interface has besides.
        interfaces = lib.zipListsWith (a: b: a // b) base.interfaces identity.interfaces;
        kernelParams = base.kernelParams ++ identity.kernelParams;
        binScripts = base.binScripts // lib.genAttrs taps (script: retap base.binScripts.${script});
        credentialFiles = base.credentialFiles // identity.credentialFiles;
        vsock = base.vsock // identity.vsock;
      };
    };

  runners = lib.listToAttrs (
    map (instance: lib.nameValuePair instance.name (runner instance)) copies
  );

  unit =
    { family, name, ... }:
    let
      own = guest.unit families.${family} name;
    in
    lib.nameValuePair "microvm@${name}" {
      overrideStrategy = "asDropin";
      path = lib.mkForce [ ];
      restartTriggers = own.restartTriggers ++ [ runners.${name} ];
      serviceConfig = own.serviceConfig // {
        # As microvm.nix has it for its own.
        Type = if (guest.able families.${family}).notify then "notify" else "simple";
        X-RestartIfChanged = [
          ""
          true
        ];
      };
    };
in
{
  options.services.microvm-dev.runners = lib.mkOption {
    type = lib.types.attrsOf lib.types.package;
    internal = true;
    readOnly = true;
    description = "What runs each copy.";
  };
  options.services.microvm-dev.guests = lib.mkOption {
    type = lib.types.attrsOf lib.types.raw;
    internal = true;
    readOnly = true;
    description = "The evaluated guest of each VM with copies.";
  };

  config = lib.mkMerge [
    { services.microvm-dev = { inherit guests runners; }; }
    (lib.mkIf (cfg.enable && copies != [ ]) {
      environment.etc."microvm-dev/runners".source = pkgs.linkFarm "microvm-dev-runners" runners;

      systemd.services = lib.listToAttrs (map unit copies) // {
        # What `install-microvm-NAME` is to the VMs of microvm.nix.
        "microvm-dev-install@" = {
          description = "Start script of VM '%i'";
          before = map (unit: "${unit}@%i.service") [
            "microvm"
            "microvm-tap-interfaces"
            "microvm-macvtap-interfaces"
            "microvm-pci-devices"
            "microvm-virtiofsd"
            "microvm-set-booted"
          ];
          partOf = [ "microvm@%i.service" ];
          unitConfig.ConditionPathExists = "/etc/microvm-dev/runners/%i";
          restartIfChanged = false;
          scriptArgs = "%i";
          script = ''
            mkdir -p ${config.microvm.stateDir}/"$1"
            cd ${config.microvm.stateDir}/"$1"
            ln -sTf "$(readlink /etc/microvm-dev/runners/"$1")" current
            chown -h microvm:kvm . current
          '';
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
          };
        };
        "microvm@".requires = [ "microvm-dev-install@%i.service" ];
        "microvm@".after = [ "microvm-dev-install@%i.service" ];
      };

      microvm.autostart = map (instance: instance.name) (
        lib.filter (instance: families.${instance.family}.autostart) copies
      );
    })
  ];
}
