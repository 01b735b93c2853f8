# What this project adds to nixpkgs. `microvm-dev` is what people install; the others are its parts.
final: _prev:
let
  sources = import ./sources.nix { inherit (final) lib; };
in
{
  microvm-dev = final.callPackage ./packages/microvm-dev.nix { };
  microvm-dev-unwrapped = final.callPackage ./packages/unwrapped.nix { inherit sources; };
  microvm-dev-guest = final.callPackage ./packages/guest.nix { inherit sources; };
  microvm-dev-kernel = final.callPackage ./packages/kernel.nix { };
  microvm-dev-manual = final.callPackage ./packages/manual.nix { inherit sources; };
}
