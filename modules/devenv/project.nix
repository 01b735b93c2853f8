# What each VM says about the environment of its project: its own options, and the file that `mvm-devenv` made.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  file = import ./file.nix { inherit lib; };

  vm =
    { config, options, ... }:
    let
      path = config.devenv.fromFile;
      found = if path != null && file.problem path == null then file.nixos path else null;
      # A forward of the host to a database that is not there would lead nowhere.
      forwards = lib.filter (
        forward: config.enableDatabaseServices || !lib.elem (forward.service or null) found.databases
      ) found.forwards;

      own =
        { pkgs, ... }:
        {
          services.microvm-dev-guest = {
            packages = lib.concatMap (
              package:
              if !builtins.isString package then
                [ package ]
              else
                lib.optional (known pkgs package) (named pkgs package)
            ) config.devenvPackages;
            variables = config.devenvVariables;
            # As they are written, so that what the file says besides stays.
            processes = lib.mkMerge options.processes.definitions;
          };
        };
      missing =
        { pkgs, vmSpec, ... }:
        {
          assertions = map (package: {
            assertion = known pkgs package;
            message = "microvm-dev: VM `${vmSpec.name}`: `devenvPackages` has `${package}`, which the guest's nixpkgs does not have; write its attribute path (`nix search nixpkgs`), or give the package itself.";
          }) (lib.filter builtins.isString config.devenvPackages);
        };
      attrs = lib.splitString ".";
      known = pkgs: name: lib.hasAttrByPath (attrs name) pkgs;
      named = pkgs: name: lib.getAttrFromPath (attrs name) pkgs;
    in
    {
      options = {
        autoConfigureDevenv = mkOption {
          type = types.bool;
          default = false;
          example = true;
          description = ''
            Whether the guest is what `microvm.json` in {option}`devenv.source` says, a file that is committed with the
            project (`mvm-devenv detect --json` prints it). {option}`projectDir` is no place to look in: it is a directory
            of the running host, which evaluating the host must not depend on.
          '';
        };

        enableDatabaseServices = mkOption {
          type = types.bool;
          default = true;
          example = false;
          description = ''
            Whether the databases among the services of {option}`devenv.fromFile` run in the VM. Without, the others do,
            for a database of another VM for example; variables are those of the file all the same.
          '';
        };

        devenvPackages = mkOption {
          type = types.listOf (types.either types.package types.str);
          default = [ ];
          example = lib.literalExpression ''[ "nodejs" "python3Packages.requests" pkgs.jq ]'';
          description = "Packages on the search path of logins and processes: themselves, or attribute paths in the guest's nixpkgs.";
        };

        devenvVariables = mkOption {
          type = types.attrsOf types.str;
          default = { };
          example = {
            DATABASE_URL = "postgres://127.0.0.1/shop";
          };
          description = ''
            Variables of logins and of {option}`processes`, as they are: `$` is a dollar sign. They go before those of
            {option}`devenv.fromFile`. They are in the Nix store: no place for secrets.
          '';
        };

        processes = mkOption {
          type = types.attrsOf (import ../guest/process.nix { inherit lib; });
          default = { };
          example = lib.literalExpression ''
            {
              web = {
                exec = "npm run dev";
                after = [ "postgresql.service" ];
              };
            }
          '';
          description = ''
            Processes that run in the project in the guest, as units `project-NAME` with its journal. What is set here of a
            process goes before what {option}`devenv.fromFile` says of it.
          '';
        };

        devenv.source = mkOption {
          type = types.nullOr types.path;
          default = null;
          example = lib.literalExpression "inputs.shop";
          description = "The project as a path in Nix, for {option}`autoConfigureDevenv`.";
        };

        devenv.fromFile = mkOption {
          type = types.nullOr types.path;
          default =
            if config.autoConfigureDevenv && config.devenv.source != null then
              config.devenv.source + "/microvm.json"
            else
              null;
          defaultText = lib.literalMD "`microvm.json` in {option}`devenv.source` with {option}`autoConfigureDevenv`, else `null`";
          example = lib.literalExpression "./shop/microvm.json";
          description = ''
            What `mvm-devenv detect --json` wrote of a project: the guest gets its packages, services, processes and
            variables, as if `guestConfig` had what `mvm-devenv --nix` prints. {option}`forwardPorts` of one's own replace
            those of the file. The file is read when the host is evaluated, and nothing is built for it.
          '';
        };
      };

      config = {
        parts = [
          own
          missing
        ]
        ++ lib.optional (found != null) (
          import ./from-file.nix {
            file = toString path;
            nixos = found;
            databases = config.enableDatabaseServices;
          }
        );
      }
      # Where the room of the network is.
      // lib.optionalAttrs (options ? forwardPorts) {
        forwardPorts = lib.mkIf (found != null) (
          lib.mkDefault (map (forward: { inherit (forward) host guest; }) forwards)
        );
      };
    };
in
{
  options.services.microvm-dev.vms = mkOption { type = types.attrsOf (types.submodule vm); };
}
