# Who may what on the host.
{ lib, world, ... }:
let
  inherit (world.hosts) desk odd;
in
{
  "users are members of the group, and of no other for it" = {
    expr = {
      inherit (desk.users.groups.microvm-dev) members;
      others = desk.users.users.ada.extraGroups;
    };
    expected = {
      members = [ "ada" ];
      others = [ ];
    };
  };
  "the polkit rule names exactly the declared VMs, and four verbs" = {
    expr = {
      enable = desk.security.polkit.enable;
      units = lib.hasInfix ''["microvm@db.service","microvm@shop.service","microvm@job-1.service","microvm@vmm-1.service","microvm@job-2.service","microvm@vmm-2.service"]'' desk.security.polkit.extraConfig;
      verbs = lib.hasInfix ''["start", "stop", "restart", "kill"]'' desk.security.polkit.extraConfig;
      group = lib.hasInfix ''subject.isInGroup("microvm-dev")'' desk.security.polkit.extraConfig;
    };
    expected = {
      enable = true;
      units = true;
      verbs = true;
      group = true;
    };
  };
  "the gate's socket is the group's" = {
    expr = desk.systemd.sockets.microvm-dev-gate.socketConfig;
    expected = {
      ListenStream = "/run/microvm-dev/gate.sock";
      SocketMode = "0660";
      SocketGroup = "microvm-dev";
    };
  };
  "state is root's alone, and the way to the gate is everybody's" = {
    expr =
      lib.mapAttrs
        (_: rule: {
          inherit (rule.d) mode user;
        })
        (
          lib.getAttrs [
            "/run/microvm-dev"
            "/var/lib/microvm-dev"
          ] desk.systemd.tmpfiles.settings."10-microvm-dev"
        );
    expected = {
      "/run/microvm-dev" = {
        mode = "0755";
        # Root.
        user = "-";
      };
      "/var/lib/microvm-dev" = {
        mode = "0700";
        # Root.
        user = "-";
      };
    };
  };
  "mvm is installed" = {
    expr = lib.elem desk.services.microvm-dev.package desk.environment.systemPackages;
    expected = true;
  };
  "the programs are those of the package" = {
    expr =
      let
        inherit (odd.services.microvm-dev) package;
      in
      lib.unique (
        map (name: lib.hasPrefix "${package}/bin/" odd.systemd.services.${name}.serviceConfig.ExecStart) [
          "microvm-dev-network"
          "microvm-dev-attach@"
          "microvm-dev-prepare@"
          "microvm-dev-sync"
          "microvm-dev-gate"
        ]
      );
    expected = [ true ];
  };
}
