# Copies: one evaluated guest, and runners that differ in who they are.
{ lib, world, ... }:
let
  inherit (world.hosts) desk;
  runner = name: world.runner desk name;
  # What of one runner is left when its name is taken out, and the numbers that follow from it.
  common =
    name:
    let
      spec = desk.services.microvm-dev.specs.${name};
    in
    lib.replaceStrings [ name spec.network.mac ] [ "NAME" "MAC" ] (runner name);
in
{
  "all copies are one guest" = {
    expr = {
      evaluated = lib.attrNames desk.services.microvm-dev.guests;
      # Where the system is, with the hash.
      systems = lib.length (
        lib.unique (
          map
            (
              name:
              builtins.match ".*init=(/nix/store/[^/]*)/init.*" (
                lib.replaceStrings [ "\n" ] [ " " ] desk.services.microvm-dev.runners.${name}.buildCommand
              )
            )
            [
              "job-1"
              "job-2"
            ]
        )
      );
    };
    expected = {
      evaluated = [
        "job"
        "vmm"
      ];
      systems = 1;
    };
  };
  "runners differ in name and MAC alone" = {
    expr = common "job-1" == common "job-2";
    expected = true;
  };
  "a copy is told its name, has its own MAC and tap, and its own keys" = {
    expr = map (part: lib.hasInfix part (runner "job-2")) [
      "systemd.hostname=job-2"
      "mac=${desk.services.microvm-dev.specs.job-2.network.mac}"
      "ifname=mvm-job-2"
      "ip tuntap add name 'mvm-job-2'"
      "ip link delete 'mvm-job-2'"
      "file=/run/credentials/microvm@job-2.service/microvm-dev.ssh-host-key"
      "file=/run/credentials/microvm@job-2.service/system.machine_id"
    ];
    expected = builtins.genList (_: true) 7;
  };
  "nothing of what stands for all copies is left in a runner" = {
    expr = map (part: lib.hasInfix part (runner "job-1")) [
      "mvm_copy"
      "02:00:00:00:00:00"
      "job-2"
    ];
    expected = [
      false
      false
      false
    ];
  };
  "file servers of copies are the same program, in a directory of each one's own" = {
    expr = lib.hasInfix "--shared-dir=/run/microvm-dev/self/project" (runner "job-1");
    expected = true;
  };
  "copies are restarted when what runs them changes" = {
    expr = {
      restart = desk.systemd.services."microvm@job-1".serviceConfig.X-RestartIfChanged;
      triggers =
        lib.elem desk.services.microvm-dev.runners.job-1
          desk.systemd.services."microvm@job-1".restartTriggers;
    };
    expected = {
      restart = [
        ""
        true
      ];
      triggers = true;
    };
  };
  "a copy adds one unit, and it is a drop-in" = {
    expr =
      let
        of = name: lib.filter (lib.hasInfix name) (lib.attrNames desk.systemd.services);
      in
      {
        units = of "job-1";
        strategy = desk.systemd.services."microvm@job-1".overrideStrategy;
        entries = lib.attrNames desk.microvm.vms;
      };
    expected = {
      units = [ "microvm@job-1" ];
      strategy = "asDropin";
      entries = [
        "db"
        "shop"
      ];
    };
  };
  "a copy's start script is put where microvm.nix's units look, before they do" = {
    expr =
      let
        install = desk.systemd.services."microvm-dev-install@";
      in
      {
        before = lib.all (unit: lib.elem "${unit}@%i.service" install.before) [
          "microvm"
          "microvm-tap-interfaces"
          "microvm-virtiofsd"
          "microvm-set-booted"
        ];
        required = lib.elem "microvm-dev-install@%i.service" desk.systemd.services."microvm@".requires;
        condition = install.unitConfig.ConditionPathExists;
        inherit (install) script;
      };
    expected = {
      before = true;
      required = true;
      condition = "/etc/microvm-dev/runners/%i";
      script = ''
        mkdir -p /var/lib/microvms/"$1"
        cd /var/lib/microvms/"$1"
        ln -sTf "$(readlink /etc/microvm-dev/runners/"$1")" current
        chown -h microvm:kvm . current
      '';
    };
  };
  "where no credential brings a machine id, the kernel's command line does, and each its own" = {
    expr =
      let
        runners = map (name: desk.services.microvm-dev.runners.${name}.buildCommand) [
          "vmm-1"
          "vmm-2"
        ];
        id =
          runner:
          builtins.match ".*systemd.machine_id=([0-9a-f]{32}).*" (lib.replaceStrings [ "\n" ] [ " " ] runner);
      in
      {
        have = lib.all (runner: id runner != null) runners;
        differ = id (lib.elemAt runners 0) != id (lib.elemAt runners 1);
      };
    expected = {
      have = true;
      differ = true;
    };
  };
}
