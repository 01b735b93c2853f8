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
      # Nothing that could give it mounts of its own: the overlay that it mounts is for others.
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
          # To mount, to write below the VM's directory for whoever owns the project; and what the guest may do to its copy,
          # since overlayfs goes on acting with the capabilities of whoever mounted it.
          CapabilityBoundingSet = [
            "CAP_CHOWN"
            "CAP_DAC_OVERRIDE"
            "CAP_DAC_READ_SEARCH"
            "CAP_FOWNER"
            "CAP_FSETID"
            "CAP_MKNOD"
            "CAP_SETFCAP"
            "CAP_SYS_ADMIN"
          ];
          NoNewPrivileges = true;
          RestrictAddressFamilies = [ "AF_UNIX" ];
          SystemCallArchitectures = "native";
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

    systemd.tmpfiles.settings."10-microvm-dev" = {
      # The way to the gate's socket. What else is there is root's.
      "/run/microvm-dev".d.mode = "0755";
      # What is below, microvm.nix makes: sources of shares.
      "/run/microvm-dev/self".d.mode = "0711";
      "/var/lib/microvm-dev".d.mode = "0700";
    };

    users.groups.microvm-dev.members = cfg.users;
  };
}
