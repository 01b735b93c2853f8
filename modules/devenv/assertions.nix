# What can't be, about a project's environment. What only the guest can know (packages, names of processes), it refuses
# itself: ../guest/devenv.nix, ./from-file.nix.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  vms = lib.filterAttrs (_: vm: vm.enable) cfg.vms;
  file = import ./file.nix { inherit lib; };

  ofVm =
    name: vm:
    let
      say = option: text: "microvm-dev: VM `${name}`: `${option}` ${text}";
      problem = if vm.devenv.fromFile == null then null else file.problem vm.devenv.fromFile;
    in
    [
      {
        assertion = vm.autoConfigureDevenv -> vm.devenv.fromFile != null;
        message = say "autoConfigureDevenv" "needs to know where the project is when the host is evaluated; set `devenv.source` to its path in Nix, `./shop` or a flake input.";
      }
      {
        assertion = problem == null;
        message = say "devenv.fromFile" (toString problem);
      }
    ];
in
{
  config = lib.mkIf cfg.enable { assertions = lib.concatLists (lib.mapAttrsToList ofVm vms); };
}
