# The packages of the flake, from a nixpkgs with the overlay.
pkgs: {
  default = pkgs.microvm-dev;
  inherit (pkgs)
    microvm-dev
    microvm-dev-unwrapped
    microvm-dev-guest
    microvm-dev-kernel
    microvm-dev-manual
    ;
}
