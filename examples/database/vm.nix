# A VM with PostgreSQL, brought up to this project's migrations at each start.
{ lib, ... }:
{
  services.microvm-dev.vms.database = {
    # Where the project is on this host. The database only reads it.
    projectDir = lib.mkDefault "/srv/database";
    forwardPorts = [
      {
        host = 5432;
        guest = 5432;
      }
    ];
    # What the database has stored outlives the VM, and an update of it.
    persistState = true;
    stateDiskSize = 4096;

    guestConfig =
      { config, pkgs, ... }:
      {
        services.postgresql = {
          enable = true;
          enableTCPIP = true;
          ensureDatabases = [ "shop" ];
          ensureUsers = [
            {
              name = "shop";
              ensureDBOwnership = true;
            }
          ];
          # Over the network with a password, which nobody has before you set one.
          authentication = "host shop shop 0.0.0.0/0 scram-sha-256";
        };

        # Over the socket as itself.
        users.users.shop = {
          isSystemUser = true;
          group = "shop";
        };
        users.groups.shop = { };

        systemd.services.shop-migrations = {
          description = "Migrations of the shop's database";
          wantedBy = [ "multi-user.target" ];
          # After postgresql.target, in which the database and its owner are made (before NixOS 25.11: by the service).
          requires = [ "postgresql.service" ];
          after = [
            "postgresql.service"
            "postgresql.target"
          ];
          unitConfig.RequiresMountsFor = "/project";
          environment.PGDATABASE = "shop";
          path = [ config.services.postgresql.package ];
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            ExecStart = "${pkgs.runtimeShell} /project/migrate.sh";
            User = "shop";
          };
        };
      };
  };
}
