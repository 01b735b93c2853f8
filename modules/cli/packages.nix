{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
in
{
  # With its completions and manual pages.
  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
  };
}
