let
  inherit (import ../../modules/lib)
    addresses
    cidr
    instances
    names
    ports
    spec
    ;
  golden = name: builtins.fromJSON (builtins.readFile (../contract + "/${name}.json"));
  # As the options come with nothing set.
  plain = {
    vcpu = 2;
    mem = 1024;
    hypervisor = "qemu";
    user = {
      name = "root";
      uid = 0;
      gid = 0;
    };
    projectDir = null;
    overlayfs.enable = true;
    persistState = false;
    stateDiskSize = null;
    environment = { };
    egress = "outbound";
  };
  places =
    addresses.assign
      (addresses.sharedBridge {
        bridge = "virbr-mvm";
        subnet = cidr.parse "192.168.100.0/24";
      })
      (instances.all {
        shop = 2;
        db = null;
      })
      { };
  make =
    name: vm: rest:
    spec.make (
      {
        inherit name vm;
        place = places.${name};
        mac = names.mac name;
        forwards = [ ];
        peers = [ ];
      }
      // rest
    );
  bare = make "db" plain { };
in
{
  "a VM of defaults is the golden one that Rust reads" = {
    expr = bare;
    expected = golden "nixos-minimal";
  };
  "a copy with everything is the golden one that Rust reads" = {
    expr =
      make "shop-2"
        (
          plain
          // {
            vcpu = 4;
            mem = 4096;
            hypervisor = "cloud-hypervisor";
            user = {
              name = "dev";
              uid = 1000;
              gid = 100;
            };
            projectDir = "/home/ada/shop";
            persistState = true;
            stateDiskSize = 8192;
            environment.RAILS_ENV = "development";
            egress = [
              "crates.io"
              "10.1.2.0/24"
            ];
          }
        )
        {
          peers = [ "db" ];
          forwards = map (ports.ofCopy 2) [
            {
              host = 8080;
              guest = 3000;
              proto = "tcp";
              address = null;
            }
            {
              host = 5353;
              guest = 53;
              proto = "udp";
              address = "0.0.0.0";
            }
          ];
        };
    expected = golden "nixos-full";
  };
  "no egress is a policy, free egress is left out" = {
    expr = [
      (make "db" (plain // { egress = "none"; }) { }).network.egress
      (bare.network ? egress)
    ];
    expected = [
      { policy = "none"; }
      false
    ];
  };
  "without copy on write there is no project to prepare" = {
    expr =
      make "db" (
        plain
        // {
          projectDir = "/srv/x";
          overlayfs.enable = false;
        }
      ) { }
      ? project;
    expected = false;
  };
  "without the network's room there is no network" = {
    expr = make "db" plain { place = null; } ? network;
    expected = false;
  };
}
