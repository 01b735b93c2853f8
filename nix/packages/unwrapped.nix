# The programs of the host, with man pages and completions, as they run where QEMU and the rest are installed anyway.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
  libcap_ng,
  libseccomp,
  pkg-config,
  sources,
  microvm-dev-guest,
}:
let
  workspace = lib.importTOML ../../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "microvm-dev-unwrapped";
  inherit (workspace.workspace.package) version;

  src = sources.rust;
  cargoLock.lockFile = ../../Cargo.lock;
  # The guest's program is a package of its own: it is linked statically.
  cargoBuildFlags = [
    "--workspace"
    "--exclude=mvm-guest"
    "--bins"
  ];

  nativeBuildInputs = [
    installShellFiles
    pkg-config
  ];
  buildInputs = [
    libcap_ng
    libseccomp
  ];
  env = {
    # The capng crate finds its library by these, not by pkg-config.
    LIBCAPNG_LIB_PATH = "${lib.getLib libcap_ng}/lib";
    LIBCAPNG_LINK_TYPE = "dylib";
  };

  # Most tests boot guests or make network namespaces, which a build may not. Those that can run in one are a check of
  # the flake (nix/checks/rust.nix).
  doCheck = false;

  # Where `mvm` looks for the guest's program: `find_guest_beside` in pkgs/mvm-host/src/boot/initramfs.rs.
  postInstall = ''
    install -d $out/libexec/microvm-dev
    ln -s ${microvm-dev-guest}/bin/mvm-guest $out/libexec/microvm-dev/mvm-guest
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/mvm man man && installManPage man/*
    for shell in bash fish zsh; do $out/bin/mvm completions $shell >mvm.$shell; done
    installShellCompletion --cmd mvm mvm.bash mvm.fish mvm.zsh
  '';

  meta = {
    description = "Isolated, disposable development machines for a project directory";
    homepage = workspace.workspace.package.repository;
    license = lib.licenses.mit;
    mainProgram = "mvm";
    platforms = [
      "x86_64-linux"
      "aarch64-linux"
    ];
  };
}
