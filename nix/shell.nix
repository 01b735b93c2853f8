# What it takes to work on the project: build, lint, test, boot guests, build the manual.
{
  lib,
  mkShell,
  cargo,
  cargo-nextest,
  clippy,
  deadnix,
  glibc,
  libcap_ng,
  libseccomp,
  mdbook,
  nixfmt-rfc-style,
  pkg-config,
  python3,
  rust-analyzer,
  rustc,
  rustfmt,
  shellcheck,
  microvm-dev,
}:
mkShell {
  packages = [
    cargo
    cargo-nextest
    clippy
    deadnix
    mdbook
    nixfmt-rfc-style
    pkg-config
    python3
    rust-analyzer
    rustc
    rustfmt
    shellcheck
  ]
  ++ microvm-dev.programs;
  # glibc.static: for the guest's program.
  buildInputs = [
    glibc.static
    libcap_ng
    libseccomp
  ];
  LIBCAPNG_LINK_TYPE = "dylib";
  MVM_KERNEL = lib.optionalString (
    microvm-dev.kernel != null
  ) "${microvm-dev.kernel}/${microvm-dev.kernel.image}";
}
