# Init and SSH server of the embedded guest. It runs before any library is mounted, so it is linked statically, and with
# the same C library as everywhere else: what the tests boot is what is packaged.
{
  lib,
  rustPlatform,
  glibc,
  sources,
}:
let
  workspace = lib.importTOML ../../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "microvm-dev-guest";
  inherit (workspace.workspace.package) version;

  src = sources.rust;
  cargoLock.lockFile = ../../Cargo.lock;
  cargoBuildFlags = [
    "--package=mvm-guest"
    "--bins"
  ];

  buildInputs = [ glibc.static ];
  # The same flags as in scripts/build.
  env.RUSTFLAGS = "-C target-feature=+crt-static -C relocation-model=static";

  # Its tests need namespaces and a terminal; scripts/test runs them.
  doCheck = false;

  # A program that asks for a dynamic linker would fail at the first boot of a VM. Here it fails at once.
  doInstallCheck = true;
  installCheckPhase = ''
    runHook preInstallCheck
    test -z "$($READELF --program-headers $out/bin/mvm-guest | grep INTERP)"
    runHook postInstallCheck
  '';

  meta = {
    description = "Init and SSH server of microvm-dev's embedded guest";
    homepage = workspace.workspace.package.repository;
    license = lib.licenses.mit;
    mainProgram = "mvm-guest";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
