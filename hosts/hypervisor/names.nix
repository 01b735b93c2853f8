# What a VM's things are called, from its name and its number. Both sides, host and guest, read them here.
{ lib }:
name: number:
let
  hex = lib.toLower (lib.fixedWidthString 2 "0" (lib.toHexString number));
in
{
  bridge = "br-${name}";
  tap = "tap-${name}";
  # Locally administered, and otherwise the address: 10.NUMBER.0.2.
  mac = "02:00:0a:${hex}:00:02";
  subnet = "10.${toString number}.0.0/24";
  gateway = "10.${toString number}.0.1";
  address = "10.${toString number}.0.2";
  directory = "/var/lib/microvms/${name}";
}
