# What the project is worked on with: packages, variables of logins and processes, and processes as units `project-NAME`.
{
  config,
  lib,
  vmSpec,
  ...
}:
let
  inherit (lib) mkOption types;
  inherit (import ../lib) quote;
  cfg = config.services.microvm-dev-guest;

  isUnit = name: builtins.match ".*\\.(service|socket|target|mount|path|timer|device)" name != null;
  unitOf = name: if isUnit name then name else "project-${name}.service";

  unit =
    name: process:
    let
      before = map unitOf process.after;
    in
    lib.nameValuePair "project-${name}" {
      description = "Process ${quote.inUnit name} of the project";
      wantedBy = [ "multi-user.target" ];
      after = [ "network.target" ] ++ before;
      wants = before;
      unitConfig.RequiresMountsFor = "/project";
      # It is restarted for as long as the VM runs: what it fails at is being worked on.
      startLimitIntervalSec = 0;
      environment = lib.mapAttrs (_: quote.inUnit) (
        vmSpec.environment or { } // cfg.variables // process.environment
      );
      # What a login has, too.
      path = [ "/run/current-system/sw" ];
      script = process.exec;
      serviceConfig = {
        User = if process.user == null then vmSpec.user.name else process.user;
        WorkingDirectory = quote.inUnit process.cwd;
        EnvironmentFile = map (file: "-${quote.inUnit file}") process.environmentFiles;
        Restart = process.restart;
        RestartSec = 1;
        RestartSteps = 5;
        RestartMaxDelaySec = 30;
      };
    };

  say = text: "microvm-dev: VM `${vmSpec.name}`: ${text}";
  isVariable = name: builtins.match "[A-Za-z_][A-Za-z0-9_]*" name != null;
  noVariables =
    option: variables:
    map (name: {
      assertion = isVariable name;
      message = say "`${option}` has `${name}`, which is no variable name; use [A-Za-z_][A-Za-z0-9_]*.";
    }) (lib.attrNames variables);

  ofProcess =
    name: process:
    [
      {
        assertion = builtins.match "[A-Za-z0-9_.-]+" name != null;
        message = say "`processes` has `${name}`, which is no unit name; use [A-Za-z0-9_.-]+.";
      }
    ]
    ++ noVariables "processes.${name}.environment" process.environment
    ++ map (other: {
      assertion = isUnit other || (other != name && cfg.processes ? ${other});
      message = say "`processes.${name}.after` has `${other}`, which is no other process of `processes`; name one, or a unit with its ending, `${other}.service`.";
    }) process.after;
in
{
  options.services.microvm-dev-guest = {
    packages = mkOption {
      type = types.listOf types.package;
      default = [ ];
      internal = true;
      description = "Packages of the project.";
    };
    variables = mkOption {
      type = types.attrsOf types.str;
      default = { };
      internal = true;
      description = "Variables of logins and of the project's processes, as they are: no shell puts anything in.";
    };
    processes = mkOption {
      type = types.attrsOf (import ./process.nix { inherit lib; });
      default = { };
      internal = true;
      description = "Processes of the project.";
    };
  };

  config = {
    environment.systemPackages = cfg.packages;
    environment.variables = lib.mapAttrs (_: quote.inDoubleQuotes) cfg.variables;
    systemd.services = lib.mapAttrs' unit cfg.processes;
    assertions =
      noVariables "devenvVariables" cfg.variables
      ++ lib.concatLists (lib.mapAttrsToList ofProcess cfg.processes);
  };
}
