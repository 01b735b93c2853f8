# What can't be is refused, with the VM, the option and the fix in the message. Each case breaks one thing in a host that
# is otherwise right, and must get exactly the message named: no more, so that one mistake is one message.
{ lib, world, ... }:
let
  refused = settings: world.failed (world.sketch settings);
  shop = vm: refused { vms.shop = vm; };
  port = host: {
    inherit host;
    guest = 80;
  };
in
{
  "a host without a mistake has no message" = {
    expr = refused world.hosts.settings.desk;
    expected = [ ];
  };
  "a real host refuses, too" = {
    expr = world.failed world.hosts.wrong;
    expected = [
      "microvm-dev: VM `shop`: `persistState` needs a disk; set `stateDiskSize`, in MiB, to 8192 for example."
    ];
  };

  # The VM itself.
  "a name that is no host name" = {
    expr = refused { vms.My_Shop = { }; };
    expected = [
      "microvm-dev: VM `My_Shop`: a name has 1 to 63 of a-z, 0-9 and `-`, and begins and ends with a letter or digit; it is host name and unit name at once. Rename it."
    ];
  };
  "a name that copies make too long" = {
    expr =
      let
        name = lib.concatStrings (lib.genList (_: "a") 61);
      in
      map (lib.replaceStrings [ name ] [ "NAME" ]) (refused {
        vms.${name}.copies = 10;
      });
    expected = [
      "microvm-dev: VM `NAME`: `copies` makes the name `NAME-10`, which has more than 63 characters; shorten the VM's name."
    ];
  };
  "copies that meet another VM" = {
    expr = refused {
      vms.job.copies = 2;
      vms.job-1 = { };
    };
    expected = [
      "microvm-dev: the VM `job-1` is there 2 times: declared as `vms.job-1` and copy 1 of `vms.job`. Rename one, or lower `copies`."
    ];
  };
  "a login name that is none" = {
    expr = shop { user.name = "Ada L"; };
    expected = [
      "microvm-dev: VM `shop`: `user.name` is `Ada L`, which is no login name; use [a-z_][a-z0-9_-]*, at most 31 characters."
    ];
  };
  "a user with root's id" = {
    expr = shop {
      user = {
        name = "dev";
        uid = 0;
      };
    };
    expected = [
      "microvm-dev: VM `shop`: `user.uid` is 0 for `dev`: root, and only root, has 0. Change one of the two."
    ];
  };
  "the size of memory that QEMU hangs with" = {
    expr = shop { mem = 2048; };
    expected = [
      "microvm-dev: VM `shop`: `mem` is 2048: QEMU hangs with exactly 2 GiB (microvm.nix, issue 171). Use 2047 or 2049, or another `hypervisor`."
    ];
  };
  "a variable that is none" = {
    expr = shop { environment."A-B" = "1"; };
    expected = [
      "microvm-dev: VM `shop`: `environment` has `A-B`, which is no variable name; use [A-Za-z_][A-Za-z0-9_]*."
    ];
  };
  "options that were removed say what to use instead" = {
    expr = map (message: lib.last (lib.splitString "\n" (lib.removeSuffix "\n" message))) (shop {
      rootPassword = "secret";
      balloonMem = 512;
    });
    expected = [
      "microvm.nix dropped it; set `guestConfig.microvm.balloon = true` where the hypervisor supports it."
      "No VM has a password: log in by a key of `authorizedKeys`, or with `mvm shell` on the host."
    ];
  };

  # The network.
  "a bridge with too long a name" = {
    expr = refused { networkBridge = "a-bridge-with-a-long-name"; };
    expected = [
      "microvm-dev: `networkBridge` is `a-bridge-with-a-long-name`: an interface name has 1 to 15 of a-z, A-Z, 0-9, `-`, `_` and `.`. Shorten it."
    ];
  };
  "a subnet that is an address" = {
    expr = refused { subnet = "192.168.100.1/24"; };
    expected = [
      "microvm-dev: `subnet` is `192.168.100.1/24`, which is no network; write its first address and prefix, like 192.168.100.0/24."
    ];
  };
  "a subnet that is nonsense" = {
    expr = refused {
      subnet = "many";
      vms.shop = { };
    };
    expected = [
      "microvm-dev: `subnet` is `many`, which is no network; write its first address and prefix, like 192.168.100.0/24."
    ];
  };
  "a subnet of the Internet's" = {
    expr = refused { subnet = "8.8.8.0/24"; };
    expected = [
      "microvm-dev: `subnet` is `8.8.8.0/24`: take a network of /8 to /29 in a private range: 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16."
    ];
  };
  "networks that are none" = {
    expr = refused { network.subnets = "10.1.2.3"; };
    expected = [
      "microvm-dev: `network.subnets` is `10.1.2.3`, which is no network; write its first address and prefix, like 10.0.0.0/8."
    ];
  };
  "networks of the wrong size" = {
    expr = refused { network.subnets = "192.168.0.0/24"; };
    expected = [
      "microvm-dev: `network.subnets` is `192.168.0.0/24`: take a private range with a prefix of /8 to /14 (a network for each second octet) or /16 to /22 (each third)."
    ];
  };
  "a subnet that the host is in" = {
    expr = world.failed (
      world.sketchWith [
        {
          networking.interfaces.eth0.ipv4.addresses = [
            {
              address = "192.168.100.7";
              prefixLength = 24;
            }
          ];
        }
      ] { }
    );
    expected = [
      "microvm-dev: `subnet` (192.168.100.0/24) overlaps with `networking.interfaces.eth0`, which has 192.168.100.7/24. Choose another private range for one of them."
    ];
  };
  "a range of ports that runs backwards" = {
    expr = refused { network.autoPorts.from = 30000; };
    expected = [
      "microvm-dev: `network.autoPorts` goes from 30000 to 29999; let `from` be the lower port, from 1."
    ];
  };
  "a name server that is no address" = {
    expr = refused { network.dns = [ "dns.example" ]; };
    expected = [ "microvm-dev: `network.dns` has `dns.example`, which is no IPv4 address." ];
  };
  "one address for copies" = {
    expr = shop {
      copies = 2;
      ipAddress = "192.168.100.20";
    };
    expected = [
      "microvm-dev: VM `shop`: `ipAddress` is one address for 2 copies; leave it out, or declare the VMs one by one."
    ];
  };
  "one MAC address for copies" = {
    expr = shop {
      copies = 2;
      macAddress = "02:00:5e:00:53:01";
    };
    expected = [
      "microvm-dev: VM `shop`: `macAddress` is one address for 2 copies; leave it out, or declare the VMs one by one."
    ];
  };
  "an address outside the subnet" = {
    expr = shop { ipAddress = "192.168.1.20"; };
    expected = [
      "microvm-dev: VM `shop`: `ipAddress` is `192.168.1.20`, which no VM can have in `subnet` 192.168.100.0/24: take one between the host's, which is the first, and the last."
    ];
  };
  "an address that is not a VM's in a network of its own" = {
    expr = refused {
      network.topology = "bridge-per-vm";
      vms.shop.ipAddress = "10.3.0.7";
    };
    expected = [
      "microvm-dev: VM `shop`: `ipAddress` is `10.3.0.7`, which no VM can have in `network.subnets` 10.0.0.0/8: a VM is the second address of its network, like 10.3.0.2 of 10.3.0.0/24."
    ];
  };
  "one address twice" = {
    expr = refused {
      vms.a.ipAddress = "192.168.100.20";
      vms.b.ipAddress = "192.168.100.20";
    };
    expected = [
      "microvm-dev: VM `a` and VM `b` both have the address 192.168.100.20/24 (`ipAddress`). Change one, or leave it out."
    ];
  };
  "one MAC address twice" = {
    expr = refused {
      vms.a.macAddress = "02:00:5e:00:53:01";
      vms.b.macAddress = "02:00:5e:00:53:01";
    };
    expected = [
      "microvm-dev: VM `a` and VM `b` both have the MAC address 02:00:5e:00:53:01 (`macAddress`). Change one, or leave it out."
    ];
  };
  "a MAC address of many" = {
    expr = shop { macAddress = "01:00:5e:00:00:01"; };
    expected = [
      "microvm-dev: VM `shop`: `macAddress` is `01:00:5e:00:00:01`: write a unicast address in lower case, like 02:00:5e:00:53:01."
    ];
  };
  "more VMs than addresses" = {
    expr = refused {
      subnet = "192.168.0.0/29";
      vms.a.copies = 6;
    };
    expected = [
      "microvm-dev: VM `a-6`: no address is left for it in `subnet` 192.168.0.0/29. Choose a larger network, or fewer VMs."
    ];
  };
  "an empty list of what may be reached" = {
    expr = shop { egress = [ ]; };
    expected = [
      "microvm-dev: VM `shop`: `egress` is an empty list, which allows nothing; write \"none\" if that is meant."
    ];
  };
  "a peer that is not there" = {
    expr = shop { peers = [ "db" ]; };
    expected = [
      "microvm-dev: VM `shop`: `peers` has `db`, and there is no such VM; the VMs are: shop."
    ];
  };
  "a peer of itself" = {
    expr = shop { peers = [ "shop" ]; };
    expected = [ "microvm-dev: VM `shop`: `peers` has `shop`, which is the VM itself; leave it out." ];
  };
  "one port of the host for two VMs" = {
    expr = refused {
      vms.a.forwardPorts = [ (port 8080) ];
      vms.b.forwardPorts = [ (port 8080) ];
    };
    expected = [
      "microvm-dev: VM `a` and VM `b` both take the host's port 8080/tcp (`forwardPorts`). Change `host` of one, or set it to 0 for any free port."
    ];
  };
  "a port of a copy that another VM has" = {
    expr = refused {
      vms.a = {
        copies = 3;
        forwardPorts = [ (port 8080) ];
      };
      vms.b.forwardPorts = [ (port 8082 // { address = "0.0.0.0"; }) ];
    };
    expected = [
      "microvm-dev: VM `a-3` and VM `b` both take the host's port 0.0.0.0:8082/tcp (`forwardPorts`; VM `a-3` as 8082/tcp). Change `host` of one, or set it to 0 for any free port."
    ];
  };
  "no free port left" = {
    expr = refused {
      network.autoPorts = {
        from = 20000;
        to = 20000;
      };
      vms.a = {
        copies = 2;
        forwardPorts = [ (port 0) ];
      };
    };
    expected = [
      "microvm-dev: VM `a-2`: no port of `network.autoPorts` is left for its port 80 (`forwardPorts`). Widen the range."
    ];
  };
  "a forward to nowhere" = {
    expr = shop {
      forwardPorts = [
        {
          host = 80;
          guest = 0;
        }
      ];
    };
    expected = [
      "microvm-dev: VM `shop`: `forwardPorts` leads 80/tcp to the guest's port 0; name the port the service listens on."
    ];
  };
  "a forward from no address" = {
    expr = shop { forwardPorts = [ (port 80 // { address = "localhost"; }) ]; };
    expected = [
      "microvm-dev: VM `shop`: `forwardPorts` listens on `localhost`, which is no IP address; leave `address` out for loopback, or write 0.0.0.0 for all of IPv4."
    ];
  };
  "ports of copies beyond the last" = {
    expr = shop {
      copies = 3;
      forwardPorts = [ (port 65534) ];
    };
    expected = [
      "microvm-dev: VM `shop`: `forwardPorts` gives copy 3 the host's port 65536; start at 65533 or below."
    ];
  };

  # Shares and disks.
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
