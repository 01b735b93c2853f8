# What can't be, about the VMs themselves. Each message names the VM, the option and the fix.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  inherit (import ../lib) names;
  vms = lib.filterAttrs (_: vm: vm.enable) cfg.vms;

  ofVm =
    name: vm:
    let
      say = option: text: "microvm-dev: VM `${name}`: `${option}` ${text}";
    in
    [
      {
        assertion = names.isValid name;
        message = "microvm-dev: VM `${name}`: a name has 1 to 63 of a-z, 0-9 and `-`, and begins and ends with a letter or digit; it is host name and unit name at once. Rename it.";
      }
      {
        assertion = vm.copies != null -> names.isValid "${name}-${toString vm.copies}";
        message = say "copies" "makes the name `${name}-${toString vm.copies}`, which has more than 63 characters; shorten the VM's name.";
      }
      {
        assertion = names.isLogin vm.user.name;
        message = say "user.name" "is `${vm.user.name}`, which is no login name; use [a-z_][a-z0-9_-]*, at most 31 characters.";
      }
      {
        assertion = (vm.user.name == "root") == (vm.user.uid == 0);
        message = say "user.uid" "is ${toString vm.user.uid} for `${vm.user.name}`: root, and only root, has 0. Change one of the two.";
      }
      {
        assertion = vm.hypervisor == "qemu" -> vm.mem != 2048;
        message = say "mem" "is 2048: QEMU hangs with exactly 2 GiB (microvm.nix, issue 171). Use 2047 or 2049, or another `hypervisor`.";
      }
    ]
    ++ lib.concatLists (
      lib.mapAttrsToList (variable: _: [
        {
          assertion = builtins.match "[A-Za-z_][A-Za-z0-9_]*" variable != null;
          message = say "environment" "has `${variable}`, which is no variable name; use [A-Za-z_][A-Za-z0-9_]*.";
        }
      ]) vm.environment
    )
    ++ map (
      assertion: assertion // { message = "microvm-dev: VM `${name}`: ${assertion.message}"; }
    ) vm.assertions;

  byName = lib.groupBy (instance: instance.name) cfg.instances;
  clash = name: instances: {
    assertion = lib.length instances == 1;
    message = "microvm-dev: the VM `${name}` is there ${toString (lib.length instances)} times: ${
      lib.concatMapStringsSep " and " (
        instance:
        if instance.index == 0 then
          "declared as `vms.${instance.family}`"
        else
          "copy ${toString instance.index} of `vms.${instance.family}`"
      ) instances
    }. Rename one, or lower `copies`.";
  };
in
{
  config = lib.mkIf cfg.enable {
    assertions = lib.concatLists (lib.mapAttrsToList ofVm vms) ++ lib.mapAttrsToList clash byName;
    warnings = lib.concatLists (
      lib.mapAttrsToList (name: vm: map (text: "microvm-dev: VM `${name}`: ${text}") vm.warnings) vms
    );
  };
}
