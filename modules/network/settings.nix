# `/etc/microvm-dev/config.toml`: what `mvm` and the units read (docs/reference/environment.md).
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.microvm-dev;
  inherit (import ../lib) cidr;
  subnet = cidr.parse cfg.subnet;
in
{
  config = lib.mkIf cfg.enable {
    environment.etc."microvm-dev/config.toml".source = (pkgs.formats.toml { }).generate "config.toml" (
      {
        inherit (cfg.network) topology subnets;
        bridge = cfg.networkBridge;
        # With the host's own address in it.
        subnet = cidr.show (subnet // { address = cidr.network subnet + 1; });
      }
      // lib.optionalAttrs (cfg.network.dns != [ ]) { inherit (cfg.network) dns; }
    );
  };
}
