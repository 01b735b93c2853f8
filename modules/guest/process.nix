# The type of a process of the project: of the VM's option `processes`, and of what becomes of it in the guest.
{ lib }:
let
  inherit (lib) mkOption types;
in
types.submodule {
  options = {
    exec = mkOption {
      type = types.lines;
      example = "npm run dev";
      description = "What a shell runs. It stays in the foreground.";
    };

    after = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "migrations"
        "postgresql.service"
      ];
      description = "What starts before it: processes by their names, units of the guest by theirs.";
    };

    environment = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        PORT = "3000";
      };
      description = "Variables of its own, besides the VM's.";
    };

    environmentFiles = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "/project/.env" ];
      description = "Files of variables in the guest (`EnvironmentFile=` of systemd). One that is not there is none.";
    };

    cwd = mkOption {
      type = types.strMatching "/.*";
      default = "/project";
      example = "/project/web";
      description = "The directory it runs in.";
    };

    user = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "nobody";
      description = "The user that it runs as; `null` for the VM's `user.name`.";
    };

    restart = mkOption {
      type = types.enum [
        "no"
        "on-failure"
        "always"
      ];
      default = "on-failure";
      description = "When it is started again: after one second, and later each time, up to half a minute.";
    };
  };
}
