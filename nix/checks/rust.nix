# Lints and tests of the Rust code.
{
  lib,
  runCommand,
  clippy,
  rustfmt,
  microvm-dev-unwrapped,
  sources,
}:
let
  # The same build with another command in the place of the compiler's.
  cargo =
    name: tools: command:
    microvm-dev-unwrapped.overrideAttrs (old: {
      pname = "microvm-dev-${name}";
      src = sources.rustTests;
      nativeBuildInputs = old.nativeBuildInputs ++ tools;
      buildPhase = ''
        runHook preBuild
        ${command}
        runHook postBuild
      '';
      installPhase = "touch $out";
      postInstall = "";
      dontFixup = true;
    });

  # These run programs by their absolute paths, which a build has not.
  needTheHost = [
    "boot::accel::tests::a_guest_that_hangs_is_ended_at_the_deadline"
    "boot::elf::tests::a_compact_program_is_smaller_and_still_runs"
  ];
in
{
  format = cargo "format" [ rustfmt ] "cargo fmt --all --check";

  lints = cargo "lints" [
    clippy
  ] "cargo clippy --offline --release --workspace --all-targets -- -D warnings";

  # Units only: what makes namespaces or boots guests is for scripts/test.
  tests = cargo "tests" [ ] ''
    cargo test --offline --release -p mvm-spec
    cargo test --offline --release -p mvm-host -p mvm-ports --lib -- ${
      lib.concatMapStringsSep " " (test: "--skip ${test}") needTheHost
    }
  '';

  # The packaged tool takes the specs that Nix and Rust share, and refuses the others.
  contract = runCommand "microvm-dev-contract" { nativeBuildInputs = [ microvm-dev-unwrapped ]; } ''
    cd ${sources.rustTests}/tests/contract
    mvm-spec check *.json
    for spec in invalid/*.json; do
      if mvm-spec check $spec; then echo "$spec was taken, and is wrong" && exit 1; fi
    done
    touch $out
  '';
}
