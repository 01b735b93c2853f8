# Files of this repository that the modules generate: path → text. scripts/test-nix compares them.
#
# The units are complete: with the programs in /opt/microvm-dev/bin they run under any systemd.
{ nixpkgs, microvm }:
let
  world = import ./world.nix { inherit nixpkgs microvm; };
  inherit (world) lib;
  hosts = import ./hosts.nix world;

  config = hosts.of (lib.recursiveUpdate hosts.settings.desk { vms.shop.devenv.watch = true; }) [
    {
      services.microvm-dev.package = lib.mkForce {
        type = "derivation";
        name = "microvm-dev";
        outPath = "/opt/microvm-dev";
      };
    }
  ];

  unit = world.ownLines config;

  units = lib.listToAttrs (
    map (name: lib.nameValuePair "tests/eval/golden/units/${name}" (unit name)) [
      "microvm-dev-attach@.service"
      "microvm-dev-gate.service"
      "microvm-dev-gate.socket"
      "microvm-dev-network.service"
      "microvm-dev-prepare@.service"
      "microvm-dev-sync.service"
      "microvm-dev-watch@.service"
    ]
  );

  specs = lib.mapAttrs' (
    name: spec: lib.nameValuePair "tests/eval/golden/vms/${name}.json" (builtins.toJSON spec + "\n")
  ) config.services.microvm-dev.specs;

  tmpfiles = lib.concatStrings (
    lib.mapAttrsToList (
      path: rules:
      lib.concatStrings (
        lib.mapAttrsToList (type: rule: "${type} ${path} ${rule.mode} ${rule.user} ${rule.group}\n") rules
      )
    ) config.systemd.tmpfiles.settings."10-microvm-dev"
  );

  # What ours adds to the unit of the file servers, which is microvm.nix's.
  servers = lib.concatStrings (
    lib.concatLists (
      lib.mapAttrsToList (key: values: map (value: "${key}=${value}\n") (lib.toList values)) (
        import ../../../modules/base/self.nix
      )
    )
  );

  golden = name: text: { "tests/eval/golden/${name}" = text; };
in
units
// specs
// golden "config.toml" (
  builtins.unsafeDiscardStringContext config.environment.etc."microvm-dev/config.toml".source.text
)
// golden "units/microvm-virtiofsd@.service.d/self.conf" "[Service]\n${servers}"
// golden "polkit.rules" config.security.polkit.extraConfig
// golden "tmpfiles.conf" tmpfiles
// import ../../flake/support/generated.nix world
// {
  "docs/reference/options.md" = import ./options-page.nix {
    inherit lib;
    inherit (world.sketched [ ] { }) options;
  };
}
