# What can't be about the network is refused, as in refused-vms.nix.
{ world, ... }:
let
  refused = settings: world.failed (world.sketch settings);
  shop = vm: refused { vms.shop = vm; };
  port = host: {
    inherit host;
    guest = 80;
  };
in
{
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
}
