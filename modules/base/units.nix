# The units of every VM. Templates, bound to microvm.nix's own: a further VM or copy adds nothing here. VMs of
# microvm.nix that are not ours pass by, for want of a spec.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.microvm-dev;
  isOurs.ConditionPathExists = "/etc/microvm-dev/vms/%i.json";
  prepare = "microvm-dev-prepare@%i.service";
in
{
  config = lib.mkIf cfg.enable {
    systemd.services = {
      # Nothing that could give it mounts of its own: the overlay that it mounts is for others. All capabilities, since
      # overlayfs goes on acting with those of whoever mounted it.
      "microvm-dev-prepare@" = {
        description = "Project and identity of VM '%i'";
        before = [
          "microvm-virtiofsd@%i.service"
          "microvm@%i.service"
        ];
        after = [ "local-fs.target" ];
        partOf = [ "microvm@%i.service" ];
        unitConfig = isOurs;
        restartIfChanged = false;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${cfg.package}/bin/mvm-unit prepare %i";
          ExecStop = "${cfg.package}/bin/mvm-unit undo %i";
          NoNewPrivileges = true;
          RestrictAddressFamilies = [ "AF_UNIX" ];
          UMask = "0077";
        };
      };

      "microvm@" = {
        requires = [ prepare ];
        after = [ prepare ];
      };

      "microvm-virtiofsd@" = {
        requires = [ prepare ];
        after = [ prepare ];
        serviceConfig = import ./self.nix;
      };
    };

    # The group goes through to the access key and nothing else; each VM's own directory is root's alone.
    systemd.tmpfiles.settings."10-microvm-dev" = {
      "/run/microvm-dev".d.mode = "0755";
      # What is below, microvm.nix makes: sources of shares.
      "/run/microvm-dev/self".d.mode = "0711";
      "/var/lib/microvm-dev".d = {
        mode = "0710";
        group = "microvm-dev";
      };
      "/var/lib/microvm-dev/access".d = {
        mode = "0750";
        group = "microvm-dev";
      };
    };

    users.groups.microvm-dev.members = cfg.users;
  };
}
