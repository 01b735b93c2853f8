# Each hypervisor, as far as microvm.nix itself evaluates it: it throws where it can't do what is asked.
{ lib, world, ... }:
let
  inherit (world.hosts) desk odd;
  runners = {
    qemu = world.runner desk "shop";
    cloud-hypervisor = world.runner desk "vmm-1";
    firecracker = world.runner odd "late-1";
  };
  # Those that no host of the other tests has. No shares, so that each has what all have.
  others = [
    "alioth"
    "crosvm"
    "kvmtool"
    "stratovirt"
  ];
  rest = world.hosts.of {
    vms = lib.genAttrs others (hypervisor: {
      inherit hypervisor;
    });
  } [ ];
in
{
  "each of the others has a guest and a start script, and no message" = {
    expr = {
      failed = world.failed rest;
      built = lib.genAttrs others (
        name:
        lib.all (built: lib.hasSuffix ".drv" built.drvPath) [
          (world.guest rest name).system.build.toplevel
          (world.guest rest name).microvm.declaredRunner
        ]
      );
    };
    expected = {
      failed = [ ];
      built = lib.genAttrs others (_: true);
    };
  };
  "and there are no more than are tried" = {
    expr = lib.attrNames (import ../../modules/lib).hypervisors;
    expected = lib.sort lib.lessThan (others ++ lib.attrNames runners);
  };
  "three of them run what is declared" = {
    expr = lib.mapAttrs (_: builtins.isString) runners;
    expected = {
      qemu = true;
      cloud-hypervisor = true;
      firecracker = true;
    };
  };
  "without credentials keys come by a share of its own, read-only" = {
    expr = map (part: lib.hasInfix part runners.cloud-hypervisor) [
      "tag=identity"
      "--shared-dir=/run/microvm-dev/self/identity"
      "-fw_cfg"
    ];
    expected = [
      true
      true
      false
    ];
  };
  "what reports its readiness has a context id, and the unit waits for it" = {
    expr = {
      cid = lib.hasInfix "cid=${toString ((import ../../modules/lib).names.cid "vmm-1")}" runners.cloud-hypervisor;
      type = desk.systemd.services."microvm@vmm-1".serviceConfig.Type;
    };
    expected = {
      cid = true;
      type = "notify";
    };
  };
  "without shares a guest boots from an image of its own closure" = {
    expr =
      let
        guest = world.guest odd "late-1";
      in
      guest.microvm.shares;
    expected = [ ];
  };
}
