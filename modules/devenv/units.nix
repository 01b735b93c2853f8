# The watcher of a project's devenv files, of each VM that asks for it.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  hardening = import ../base/hardening.nix;
  watched = lib.filter (
    instance:
    let
      vm = cfg.vms.${instance.family};
    in
    vm.devenv.watch && vm.projectDir or null != null
  ) cfg.instances;
in
{
  config = lib.mkIf (cfg.enable && watched != [ ]) {
    systemd.services = {
      "microvm-dev-watch@" = {
        description = "Watcher of the devenv files of VM '%i'";
        partOf = [ "microvm@%i.service" ];
        after = [ "microvm-dev-prepare@%i.service" ];
        serviceConfig = hardening // {
          Type = "exec";
          ExecStart = "${cfg.package}/bin/mvm-unit watch %i";
          Restart = "on-failure";
          RestartSec = 5;
          # Projects are in people's homes; it reads names and times.
          ProtectHome = "read-only";
          CapabilityBoundingSet = [ "CAP_DAC_READ_SEARCH" ];
          # Its mark for `mvm list`.
          ReadWritePaths = [ "/run/microvm-dev" ];
        };
      };
    }
    // lib.listToAttrs (
      map (instance: {
        name = "microvm@${instance.name}";
        value.wants = [ "microvm-dev-watch@${instance.name}.service" ];
      }) watched
    );
  };
}
