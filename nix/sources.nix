# The parts of the checkout that things are built from. Each is its own store path, so that a change of a page builds no
# Rust, and a change of Rust no manual. Filters by path instead of `lib.fileset`, which older versions of Nix don't have.
{ lib }:
let
  root = ../.;

  # The files of the checkout below one of `paths`, which are relative to its root.
  only =
    name: paths:
    lib.cleanSourceWith {
      inherit name;
      src = lib.cleanSource root;
      filter =
        path: _type:
        let
          relative = lib.removePrefix "${toString root}/" (toString path);
          isOrContains = wanted: relative == wanted || lib.hasPrefix "${wanted}/" relative;
          leadsTo = wanted: lib.hasPrefix "${relative}/" wanted;
        in
        lib.any (wanted: isOrContains wanted || leadsTo wanted) paths;
    };

  # The crates, with all they are built from.
  crates = [
    "Cargo.lock"
    "Cargo.toml"
    "pkgs"
  ];
in
{
  rust = only "microvm-dev-rust" crates;

  # With what its tests and lints read besides.
  rustTests = only "microvm-dev-rust-tests" (
    crates
    ++ [
      ".config"
      "clippy.toml"
      "docs/reference"
      "rustfmt.toml"
      "tests/contract"
      "tests/network"
    ]
  );

  docs = only "microvm-dev-docs" [ "docs" ];

  nix = only "microvm-dev-nix" [
    "Cargo.lock"
    "Cargo.toml"
    "default.nix"
    "examples"
    "flake.lock"
    "flake.nix"
    "hosts"
    "modules"
    "nix"
    "tests"
  ];
}
