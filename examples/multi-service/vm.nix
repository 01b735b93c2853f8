# Two VMs: a web service, and the database that it alone reaches.
{ lib, ... }:
{
  services.microvm-dev.vms = {
    links = {
      # Where the project is on this host.
      projectDir = lib.mkDefault "/srv/links";
      overlayfs.enable = true;
      # Without this the two would not reach each other.
      peers = [ "links-db" ];
      forwardPorts = [
        {
          host = 8080;
          guest = 8000;
        }
      ];
      user = {
        name = "dev";
        uid = lib.mkDefault 1000;
      };

      guestConfig =
        { pkgs, ... }:
        let
          python = pkgs.python3.withPackages (packages: [ packages.psycopg ]);
        in
        {
          systemd.services.links = {
            description = "Short links";
            wantedBy = [ "multi-user.target" ];
            unitConfig.RequiresMountsFor = "/project";
            environment = {
              # VMs know each other by name.
              PGHOST = "links-db";
              PGUSER = "links";
              PGDATABASE = "links";
              PYTHONDONTWRITEBYTECODE = "1";
            };
            serviceConfig = {
              ExecStart = "${python}/bin/python3 shortener.py";
              WorkingDirectory = "/project";
              User = "dev";
              # The database may take longer to start than the service waits.
              Restart = "on-failure";
            };
          };
        };
    };

    links-db = {
      persistState = true;
      stateDiskSize = 1024;

      guestConfig = {
        services.postgresql = {
          enable = true;
          enableTCPIP = true;
          ensureDatabases = [ "links" ];
          ensureUsers = [
            {
              name = "links";
              ensureDBOwnership = true;
            }
          ];
          # Without a password: whose packets come here, `peers` decides, and no port leads in from elsewhere.
          authentication = "host links links samenet trust";
        };
        networking.firewall.allowedTCPPorts = [ 5432 ];
      };
    };
  };
}
