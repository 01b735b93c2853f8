# Logins by key only.
{
  config,
  lib,
  vmSpec,
  ...
}:
let
  inherit (vmSpec) user;
  inherit (import ../lib) quote;
  keys = config.services.microvm-dev-guest.authorizedKeys;
  # On a persistent /var, since / goes with each stop.
  homes = if vmSpec.persistence.enable then "/var/home" else "/home";
  # The names that NixOS gives to ids of its own.
  group = if user.gid == config.ids.gids.users then "users" else user.name;
in
{
  services.openssh = {
    enable = true;
    settings = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      PermitRootLogin = "prohibit-password";
    };
  };

  users = {
    mutableUsers = false;
    # All logins are by key, and the key comes at run time.
    allowNoPasswordLogin = true;
    users = {
      root.hashedPassword = "*";
    }
    // (
      if user.uid == 0 then
        {
          root.openssh.authorizedKeys.keys = keys;
          root.hashedPassword = "*";
        }
      else
        {
          ${user.name} = {
            isNormalUser = true;
            inherit (user) uid;
            inherit group;
            home = "${homes}/${user.name}";
            extraGroups = [ "wheel" ];
            hashedPassword = "*";
            openssh.authorizedKeys.keys = keys;
          };
        }
    );
    groups = lib.mkIf (user.uid != 0 && group != "users") { ${group}.gid = user.gid; };
  };

  # There is no password to ask for.
  security.sudo.wheelNeedsPassword = false;

  environment.variables = lib.mapAttrs (_: value: lib.mkDefault (quote.inDoubleQuotes value)) (
    vmSpec.environment or { }
  );
}
