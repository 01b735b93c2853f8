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
    expr =
      (world.guest desk "job-1").system.build.toplevel.drvPath == (world.guest desk "job-2")
      .system.build.toplevel.drvPath;
    expected = true;
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
  "copies are restarted when they change" = {
    expr = desk.systemd.services."microvm@job-1".serviceConfig.X-RestartIfChanged;
    expected = [
      ""
      true
    ];
  };
  "where no credential brings a machine id, the kernel's command line does, and each its own" = {
    expr =
      let
        runners = map (name: (world.guest world.hosts.desk name).microvm.declaredRunner.buildCommand) [
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
