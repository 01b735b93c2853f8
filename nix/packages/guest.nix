# Init and SSH server of the embedded guest. It runs before any library is mounted, so it is linked statically, and with
# the same C library as everywhere else: what the tests boot is what is packaged.
{
  lib,
  rustPlatform,
  glibc,
  sources,
}:
let
  common = import ./common.nix { inherit lib sources; };
in
rustPlatform.buildRustPackage (
  common
  // {
    pname = "microvm-dev-guest";
    cargoBuildFlags = [
      "--package=mvm-guest"
      "--bins"
    ];

    buildInputs = [ glibc.static ];
    # The same flags as in scripts/build.
    env.RUSTFLAGS = "-C target-feature=+crt-static --cfg sha2_backend_soft=\"compact\"";

    # A program that asks for a dynamic linker would fail at the first boot of a VM. Here it fails at once.
    doInstallCheck = true;
    installCheckPhase = ''
      runHook preInstallCheck
      test -z "$($READELF --program-headers $out/bin/mvm-guest | grep INTERP)"
      runHook postInstallCheck
    '';

    meta = common.meta // {
      description = "Init and SSH server of microvm-dev's embedded guest";
      mainProgram = "mvm-guest";
    };
  }
)
