# What hosts/hypervisor generates, for the comparison of goldens: path → text. tests/hypervisor tries the rules with packets.
world:
let
  inherit (world) lib;
  support = import ./flake.nix { inherit lib world; };
  inherit (support.self.nixosConfigurations.hypervisor) config;
  text = world.ownLines config;
in
lib.mapAttrs' (name: lib.nameValuePair "tests/eval/golden/hypervisor/${name}") {
  "isolation.nft" =
    "table inet hypervisor {\n${config.networking.nftables.tables.hypervisor.content}}\n";
  "hypervisor-storage@.service" = text "hypervisor-storage@.service";
  "tailscale-join.service" = text "tailscale-join.service";
}
