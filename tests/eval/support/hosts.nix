# Hosts that several tests look at; evaluated when one does.
world:
let
  settings = rec {
    # A developer's machine.
    desk = {
      users = [ "ada" ];
      vms = {
        shop = {
          projectDir = "/home/ada/shop";
          forwardPorts = [
            {
              host = 8080;
              guest = 3000;
            }
            {
              host = 0;
              guest = 9229;
            }
          ];
          peers = [ "db" ];
          user.name = "dev";
          authorizedKeys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHB1 ada@laptop" ];
          environment.RAILS_ENV = "development";
        };
        db = {
          persistState = true;
          stateDiskSize = 8192;
          egress = "none";
        };
        vmm = {
          copies = 2;
          hypervisor = "cloud-hypervisor";
          projectDir = "/home/ada/job";
        };
        job = {
          copies = 2;
          projectDir = "/home/ada/job";
          egress = [ "crates.io" ];
          forwardPorts = [
            {
              host = 9000;
              guest = 80;
            }
          ];
        };
      };
    };

    # Whatever is not as it comes, on a host with networkd and without a firewall.
    odd = {
      networkBridge = "br-dev";
      subnet = "172.20.0.0/16";
      network = {
        subnets = "192.168.0.0/16";
        dns = [ "192.0.2.53" ];
      };
      vms = {
        limited.shareProtocol = "9p";
        limited.limits = {
          memory = 512;
          cpu = 50;
          tasks = 99;
          io = 20;
        };
        free = {
          hypervisor = "cloud-hypervisor";
          limits = {
            memory = null;
            cpu = null;
            tasks = null;
          };
        };
        watched = {
          projectDir = "/srv/watched";
          overlayfs.enable = false;
          enableFirewall = true;
          forwardPorts = [
            {
              host = 3000;
              guest = 3000;
            }
            {
              host = 5353;
              guest = 53;
              proto = "udp";
              address = "0.0.0.0";
            }
          ];
          shares = [
            {
              tag = "data";
              source = "/srv/data";
              mountPoint = "/data";
            }
            {
              tag = "out";
              source = "/srv/out";
              mountPoint = "/out";
              readOnly = false;
            }
          ];
          volumes = [
            {
              image = "cache.img";
              size = 100;
              mountPoint = "/cache";
              fsType = "btrfs";
              readOnly = true;
            }
          ];
          stateVersion = "23.11";
          guestConfig.networking.domain = "example.org";
          guestModules = [ { time.timeZone = "Europe/Vienna"; } ];
          devenv = {
            enable = true;
            watch = true;
          };
        };
        late = {
          autostart = false;
          copies = 2;
          hypervisor = "firecracker";
        };
      };
    };

    perVm = {
      network.topology = "bridge-per-vm";
      vms = {
        vm1.ipAddress = "10.1.0.2";
        a-name-too-long-for-an-interface.copies = 1;
      };
    };
  };

  of =
    settings: modules:
    (world.evalHost (
      [
        {
          services.microvm-dev = {
            enable = true;
          }
          // settings;
          users.users.ada.isNormalUser = true;
        }
      ]
      ++ modules
    )).config;
in
{
  inherit of settings;
  desk = of settings.desk [ world.legible ];
  odd = of settings.odd [
    {
      networking.useNetworkd = true;
      networking.firewall.enable = false;
      services.microvm-dev.package = world.lib.mkForce {
        type = "derivation";
        name = "mine";
        outPath = "/nix/store/00000000000000000000000000000000-mine";
      };
    }
  ];
  perVm = of settings.perVm [ { networking.networkmanager.enable = true; } ];
  nftables = of { vms.shop = { }; } [
    {
      networking.nftables.enable = true;
      networking.firewall.filterForward = true;
    }
  ];
  wrong = of { vms.shop.persistState = true; } [ ];
  # Declared, and not switched on.
  without = of (settings.desk // { enable = false; }) [ ];
}
