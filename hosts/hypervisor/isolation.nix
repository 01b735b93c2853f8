# Who reaches whom. A VM reaches what is behind the uplink, and is reached from the tailnet; nothing else: no other VM, no
# service of the hypervisor (by none of its addresses), no link-local or metadata address, nothing under a forged address.
#
# A table of our own, asked before the firewall's: ports that other modules open on the hypervisor are open to the
# uplink, and still not to VMs. In nftables a drop is final whatever another table accepts.
{ config, lib, ... }:
let
  cfg = config.hypervisor;
  names = lib.mapAttrsToList (import ./names.nix { inherit lib; }) cfg.vms;
  setOf = function: "{ ${lib.concatMapStringsSep ", " function names} }";
  bridges = setOf ({ bridge, ... }: ''"${bridge}"'');
  senders = setOf ({ bridge, address, ... }: ''"${bridge}" . ${address}'');
in
{
  networking.nftables.tables.hypervisor = lib.mkIf (names != [ ]) {
    family = "inet";
    content = ''
      chain input {
        type filter hook input priority filter - 10; policy accept;
        iifname != ${bridges} accept
        iifname . ip saddr != ${senders} drop
        ct state { established, related } accept
        icmp type echo-request limit rate 10/second accept
        drop
      }

      chain forward {
        type filter hook forward priority filter - 10; policy accept;
        iifname ${bridges} jump from-vm
        oifname ${bridges} jump to-vm
      }

      chain from-vm {
        oifname ${bridges} drop
        meta nfproto != ipv4 drop
        iifname . ip saddr != ${senders} drop
        ct state { established, related } accept
        ip daddr 169.254.0.0/16 drop
        oifname != "${cfg.uplink}" drop
        accept
      }

      chain to-vm {
        ct state { established, related } accept
        iifname "${config.services.tailscale.interfaceName}" accept
        drop
      }
    '';
  };
}
