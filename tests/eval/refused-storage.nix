# What can't be about shares and disks is refused, as in refused-vms.nix.
{ world, ... }:
let
  refused = settings: world.failed (world.sketch settings);
  shop = vm: refused { vms.shop = vm; };
in
{
  "a project without leading slash" = {
    expr = shop { projectDir = "home/ada/shop"; };
    expected = [
      "microvm-dev: VM `shop`: `projectDir` is `home/ada/shop`: write an absolute path, with a leading slash, without `.`, `..`, `//` or `:`."
    ];
  };
  "a project that leads elsewhere" = {
    expr = shop { projectDir = "/home/ada/../bob"; };
    expected = [
      "microvm-dev: VM `shop`: `projectDir` is `/home/ada/../bob`: write an absolute path, with a leading slash, without `.`, `..`, `//` or `:`."
    ];
  };
  "a project in the store" = {
    expr = shop { projectDir = "/nix/store/abc-shop"; };
    expected = [
      "microvm-dev: VM `shop`: `projectDir` is `/nix/store/abc-shop`, in the Nix store: a copy, which does not follow your changes. Write the directory as a string, \"/home/…\", not as a Nix path."
    ];
  };
  "a project where there are no shares" = {
    expr = shop {
      hypervisor = "firecracker";
      projectDir = "/home/ada/shop";
    };
    expected = [
      "microvm-dev: VM `shop`: `projectDir` asks for a directory of the host, and `hypervisor` firecracker has no shared directories. Leave it out, or use qemu or cloud-hypervisor."
    ];
  };
  "a protocol that the hypervisor does not speak" = {
    expr = shop {
      hypervisor = "cloud-hypervisor";
      shareProtocol = "9p";
      projectDir = "/home/ada/shop";
    };
    expected = [
      "microvm-dev: VM `shop`: `shareProtocol` is 9p, which `hypervisor` cloud-hypervisor doesn't speak; use virtiofs."
    ];
  };
  "the store where there are no shares" = {
    expr = shop {
      hypervisor = "firecracker";
      shareStore = true;
    };
    expected = [
      "microvm-dev: VM `shop`: `shareStore` is set, and `hypervisor` firecracker has no shares by virtiofs. Leave it out: the guest then boots from an image."
    ];
  };
  "read-only shares where all are writable" = {
    expr = shop {
      hypervisor = "kvmtool";
      shareProtocol = "9p";
      shares = [
        {
          tag = "data";
          source = "/srv/data";
          mountPoint = "/data";
        }
      ];
    };
    expected = [
      "microvm-dev: VM `shop`: `shareProtocol` is 9p, which `hypervisor` kvmtool has for writable directories only: what is shared read-only would not be. Use virtiofs, or another hypervisor."
    ];
  };
  "persistence without a size" = {
    expr = shop { persistState = true; };
    expected = [
      "microvm-dev: VM `shop`: `persistState` needs a disk; set `stateDiskSize`, in MiB, to 8192 for example."
    ];
  };
  "a size without persistence" = {
    expr = shop { stateDiskSize = 100; };
    expected = [
      "microvm-dev: VM `shop`: `stateDiskSize` is the size of a disk that there is only with `persistState = true`. Set that, or leave the size out."
    ];
  };
  "a tag that is taken" = {
    expr = shop {
      shares = [
        {
          tag = "project";
          source = "/srv/data";
          mountPoint = "/data";
        }
      ];
    };
    expected = [
      "microvm-dev: VM `shop`: `shares` has the tag `project` twice; rename one. `project`, `identity` and `ro-store` are taken."
    ];
  };
  "two things at one place" = {
    expr = shop {
      projectDir = "/home/ada/shop";
      volumes = [
        {
          image = "x.img";
          size = 10;
          mountPoint = "/project";
        }
      ];
    };
    expected = [
      "microvm-dev: VM `shop`: `shares` and `volumes` mount two things at `/project`. Move one."
    ];
  };
  "a share of a relative path" = {
    expr = shop {
      shares = [
        {
          tag = "data";
          source = "data";
          mountPoint = "/data";
        }
      ];
    };
    expected = [
      "microvm-dev: VM `shop`: `shares` leads `data` to `/data`: both are absolute paths, without `.`, `..`, `//` or `:`."
    ];
  };
  "a disk at a relative place" = {
    expr = shop {
      volumes = [
        {
          image = "x.img";
          size = 10;
          mountPoint = "x";
        }
      ];
    };
    expected = [ "microvm-dev: VM `shop`: `volumes` mounts `x.img` at `x`: write an absolute path." ];
  };
  "one disk for all copies" = {
    expr = shop {
      copies = 2;
      volumes = [
        {
          image = "/srv/x.img";
          size = 10;
          mountPoint = "/x";
        }
      ];
    };
    expected = [
      "microvm-dev: VM `shop`: `volumes` gives all copies the one disk `/srv/x.img`, which none of them would survive. Write a file name without directories: each copy then has its own."
    ];
  };
}
