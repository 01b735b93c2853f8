# What the hypervisors of microvm.nix (lib/runners) can do, as far as the modules depend on it.
#
# shares       protocols of shared directories
# readOnly9p   whether a 9p share can be read-only
# credentials  whether systemd credentials reach the guest (microvm.credentialFiles)
# notify       whether the guest reports its readiness over VSOCK, which then needs a context id
#
# vfkit is absent: it runs on macOS only.
let
  plain = {
    shares = [ ];
    readOnly9p = false;
    credentials = false;
    notify = false;
  };
in
{
  qemu = plain // {
    shares = [
      "virtiofs"
      "9p"
    ];
    readOnly9p = true;
    credentials = true;
  };
  cloud-hypervisor = plain // {
    shares = [ "virtiofs" ];
    notify = true;
  };
  firecracker = plain;
  crosvm = plain // {
    shares = [
      "virtiofs"
      "9p"
    ];
  };
  kvmtool = plain // {
    shares = [ "9p" ];
  };
  stratovirt = plain // {
    shares = [ "virtiofs" ];
  };
  alioth = plain // {
    shares = [ "virtiofs" ];
  };
}
