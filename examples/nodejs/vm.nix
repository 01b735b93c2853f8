# A VM that serves this project.
{ lib, ... }:
{
  services.microvm-dev.vms.nodejs = {
    # Where the project is on this host.
    projectDir = lib.mkDefault "/srv/nodejs";
    overlayfs.enable = true;
    forwardPorts = [
      {
        host = 3000;
        guest = 3000;
      }
    ];
    # With the id of the project's owner on the host, it may write to its copy of the project.
    user = {
      name = "dev";
      uid = lib.mkDefault 1000;
    };

    guestConfig =
      { pkgs, ... }:
      {
        environment.systemPackages = [ pkgs.nodejs ];
        systemd.services.notes = {
          description = "Notes over HTTP";
          wantedBy = [ "multi-user.target" ];
          unitConfig.RequiresMountsFor = "/project";
          environment.NOTES = "/var/lib/notes/notes.json";
          serviceConfig = {
            ExecStart = "${lib.getExe pkgs.nodejs} server.js";
            WorkingDirectory = "/project";
            StateDirectory = "notes";
            User = "dev";
            Restart = "on-failure";
          };
        };
      };
  };
}
