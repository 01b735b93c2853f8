# A VM that serves this project.
{ lib, ... }:
{
  services.microvm-dev.vms.django = {
    # Where the project is on this host.
    projectDir = lib.mkDefault "/srv/django";
    overlayfs.enable = true;
    forwardPorts = [
      {
        host = 8000;
        guest = 8000;
      }
    ];
    # With the id of the project's owner on the host, it may write to its copy of the project.
    user = {
      name = "dev";
      uid = lib.mkDefault 1000;
    };
    # Entries, and the key that signs forms, outlive the VM.
    persistState = true;
    stateDiskSize = 1024;

    guestConfig =
      { pkgs, ... }:
      let
        python = pkgs.python3.withPackages (packages: [
          packages.django
          packages.gunicorn
        ]);
      in
      {
        environment.systemPackages = [ python ];
        systemd.services.guestbook = {
          description = "Guest book";
          wantedBy = [ "multi-user.target" ];
          unitConfig.RequiresMountsFor = "/project";
          environment = {
            DATA_DIR = "/var/lib/guestbook";
            PYTHONDONTWRITEBYTECODE = "1";
          };
          serviceConfig = {
            ExecStartPre = "${python}/bin/python manage.py migrate --noinput";
            ExecStart = "${python}/bin/gunicorn --bind=0.0.0.0:8000 --workers=2 config.wsgi";
            WorkingDirectory = "/project";
            StateDirectory = "guestbook";
            User = "dev";
            Restart = "on-failure";
          };
        };
      };
  };
}
