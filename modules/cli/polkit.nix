# Members of the group start, stop and kill exactly the declared VMs, and no other unit. An instance that is no declared VM
# doesn't count: its unit would run what somebody else put below /var/lib/microvms.
{ config, lib, ... }:
let
  cfg = config.services.microvm-dev;
  units = map (instance: "microvm@${instance.name}.service") cfg.instances;
in
{
  config = lib.mkIf cfg.enable {
    security.polkit = {
      enable = true;
      extraConfig = ''
        polkit.addRule(function (action, subject) {
          var units = ${builtins.toJSON units};
          var verbs = ["start", "stop", "restart", "kill"];
          if (action.id == "org.freedesktop.systemd1.manage-units" &&
              subject.isInGroup("microvm-dev") &&
              units.indexOf(action.lookup("unit")) >= 0 &&
              verbs.indexOf(action.lookup("verb")) >= 0) {
            return polkit.Result.YES;
          }
        });
      '';
    };
  };
}
