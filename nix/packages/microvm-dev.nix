# The programs with all they run: `nix run` works where nothing else is installed.
#
# What the user says goes before what is carried here: MVM_QEMU and MVM_KERNEL name others, and so does config.toml.
{
  lib,
  stdenv,
  symlinkJoin,
  makeBinaryWrapper,
  dnsmasq,
  e2fsprogs,
  iproute2,
  nftables,
  openssh,
  passt,
  qemu_kvm,
  util-linux,
  microvm-dev-kernel,
  microvm-dev-unwrapped,
}:
let
  programs = [
    dnsmasq
    e2fsprogs
    iproute2
    nftables
    openssh
    passt
    qemu_kvm
    util-linux
  ];
  # Embedded guests boot a bzImage: there is none for other processors.
  kernel = if stdenv.hostPlatform.isx86_64 then microvm-dev-kernel else null;
  kernelArgs = lib.optionals (kernel != null) [
    "--set-default"
    "MVM_KERNEL_DEFAULT"
    "${kernel}/${kernel.image}"
  ];
in
symlinkJoin {
  name = "microvm-dev-${microvm-dev-unwrapped.version}";
  paths = [ microvm-dev-unwrapped ];
  nativeBuildInputs = [ makeBinaryWrapper ];
  postBuild = ''
    for program in $out/bin/*; do
      wrapProgram $program --prefix PATH : ${lib.makeBinPath programs} ${lib.escapeShellArgs kernelArgs}
    done
  '';
  passthru = {
    inherit kernel programs;
    unwrapped = microvm-dev-unwrapped;
  };
  inherit (microvm-dev-unwrapped) meta;
}
