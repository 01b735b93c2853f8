# One interface, one address, by DHCP: the host's dnsmasq knows each VM by its MAC. No IPv6: the host's rules drop it.
{ lib, vmSpec, ... }:
{
  networking.useDHCP = false;
  networking.useNetworkd = true;

  systemd.network = {
    enable = true;
    networks = lib.mkIf (vmSpec ? network) {
      "10-microvm-dev" = {
        matchConfig.Type = "ether";
        networkConfig = {
          DHCP = "ipv4";
          IPv6AcceptRA = false;
          LinkLocalAddressing = "no";
        };
        dhcpV4Config = {
          ClientIdentifier = "mac";
          # `db`, not only `db.mvm`.
          UseDomains = true;
        };
      };
    };
  };
}
