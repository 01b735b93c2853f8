# What a guest has to know beyond its spec.
{ lib, ... }:
let
  inherit (lib) mkOption types;
in
{
  options.services.microvm-dev-guest = {
    authorizedKeys = mkOption {
      type = types.listOf types.singleLineStr;
      default = [ ];
      internal = true;
      description = "Public ssh keys of the spec's user.";
    };
    identityByCredentials = mkOption {
      type = types.bool;
      internal = true;
      description = "Whether keys and machine id come as systemd credentials; else by the share at /run/microvm-dev/identity.";
    };
  };
}
