# What the packages of the workspace have in common.
{ lib, sources }:
let
  inherit (lib.importTOML ../../Cargo.toml) workspace;
in
{
  inherit (workspace.package) version;

  src = sources.rust;
  cargoLock.lockFile = ../../Cargo.lock;

  # Most tests boot guests, or make network namespaces, which a build may not. Those that can run in one are a check of
  # the flake (nix/checks/rust.nix).
  doCheck = false;

  meta = {
    homepage = workspace.package.repository;
    license = lib.licenses.mit;
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
