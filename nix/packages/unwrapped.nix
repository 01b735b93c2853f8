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
  common = import ./common.nix { inherit lib sources; };
in
rustPlatform.buildRustPackage (
  common
  // {
    pname = "microvm-dev-unwrapped";

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

    # Where `mvm` looks for the guest's program: `find_guest_beside` in pkgs/mvm-host/src/boot/initramfs.rs.
    postInstall = ''
      install -d $out/libexec/microvm-dev
      ln -s ${microvm-dev-guest}/bin/mvm-guest $out/libexec/microvm-dev/mvm-guest
    ''
    + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
      $out/bin/mvm man man && $out/bin/mvm-devenv man man && installManPage man/*
      for shell in bash fish zsh; do $out/bin/mvm completions $shell >mvm.$shell; done
      installShellCompletion --cmd mvm mvm.bash mvm.fish mvm.zsh
    '';

    meta = common.meta // {
      description = "Isolated, disposable development machines for a project directory";
      mainProgram = "mvm";
    };
  }
)
