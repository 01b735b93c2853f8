# What a guest is: NixOS, as its spec and options say.
{ lib, world, ... }:
let
  inherit (world.hosts) desk odd;
  shop = world.guest desk "shop";
  db = world.guest desk "db";
  share = guest: tag: lib.findFirst (share: share.tag == tag) null guest.microvm.shares;
in
{
  "resources are the spec's" = {
    expr = {
      inherit (shop.microvm) hypervisor mem vcpu;
      store = shop.microvm.storeOnDisk;
    };
    expected = {
      hypervisor = "qemu";
      mem = 1024;
      vcpu = 2;
      store = false;
    };
  };
  "nobody has a password, and logins are by key" = {
    expr = {
      passwords = lib.attrValues (
        lib.mapAttrs (_: user: [
          user.hashedPassword
          user.password
          user.initialPassword
          user.initialHashedPassword
        ]) (lib.getAttrs [ "root" "dev" ] shop.users.users)
      );
      mutable = shop.users.mutableUsers;
      ssh = lib.getAttrs [
        "PasswordAuthentication"
        "KbdInteractiveAuthentication"
        "PermitRootLogin"
      ] shop.services.openssh.settings;
      keys = shop.users.users.dev.openssh.authorizedKeys.keys;
    };
    expected = {
      passwords = [
        [
          "*"
          null
          null
          null
        ]
        [
          "*"
          null
          null
          null
        ]
      ];
      mutable = false;
      ssh = {
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        PermitRootLogin = "prohibit-password";
      };
      keys = [ "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHB1 ada@laptop" ];
    };
  };
  "the login user has the ids that were asked for" = {
    expr = {
      inherit (shop.users.users.dev) uid group home;
      root = world.guest desk "db" ? users.users.dev;
    };
    expected = {
      uid = 1000;
      group = "users";
      home = "/home/dev";
      root = false;
    };
  };
  "the host key comes from the host, and is made in the guest only where it can't" = {
    expr = map (guest: map (key: key.path) guest.services.openssh.hostKeys) [
      shop
      (world.guest odd "free")
    ];
    expected = [
      [ "/run/microvm-dev/identity/ssh_host_ed25519_key" ]
      [ "/run/microvm-dev/identity/ssh_host_ed25519_key" ]
    ];
  };
  "keys come as credentials, which fit QEMU's names" = {
    expr = {
      files = shop.microvm.credentialFiles;
      tooLong = lib.filter (name: lib.stringLength "opt/io.systemd.credentials/${name}" > 55) (
        lib.attrNames shop.microvm.credentialFiles
      );
      loaded = desk.systemd.services."microvm@shop".serviceConfig.LoadCredential;
      written = lib.mapAttrs (_: rule: lib.attrNames rule) (
        removeAttrs shop.systemd.tmpfiles.settings."10-microvm-dev" [ "/run/microvm-dev/identity" ]
      );
      module = lib.elem "qemu_fw_cfg" shop.boot.initrd.availableKernelModules;
    };
    expected = {
      files = {
        "microvm-dev.authorized-keys" = "/run/credentials/microvm@shop.service/microvm-dev.authorized-keys";
        "microvm-dev.ssh-host-key" = "/run/credentials/microvm@shop.service/microvm-dev.ssh-host-key";
        "system.machine_id" = "/run/credentials/microvm@shop.service/system.machine_id";
      };
      tooLong = [ ];
      loaded = [
        "microvm-dev.ssh-host-key:/var/lib/microvm-dev/shop/identity/ssh_host_ed25519_key"
        "microvm-dev.authorized-keys:/var/lib/microvm-dev/shop/identity/authorized_keys"
        "system.machine_id:/var/lib/microvm-dev/shop/identity/machine-id"
      ];
      written = {
        "/run/microvm-dev/identity/ssh_host_ed25519_key" = [ "f^" ];
        "/run/microvm-dev/identity/authorized_keys" = [ "f^" ];
      };
      module = true;
    };
  };
  "without credentials keys are copied from the share, for sshd to read as whoever logs in" = {
    expr =
      let
        free = world.guest odd "free";
      in
      {
        rule =
          removeAttrs
            free.systemd.tmpfiles.settings."10-microvm-dev"."/run/microvm-dev/identity/authorized_keys".C
            [
              "age"
              "user"
              "group"
              "type"
            ];
        mounted = (share free "identity").mountPoint;
        credentials = free.microvm.credentialFiles;
      };
    expected = {
      rule = {
        mode = "0644";
        argument = "/run/microvm-dev/from-host/authorized_keys";
      };
      mounted = "/run/microvm-dev/from-host";
      credentials = { };
    };
  };
  "it gets its address by DHCP, as its MAC" = {
    expr = {
      network = shop.systemd.network.networks."10-microvm-dev".networkConfig.DHCP;
      client = shop.systemd.network.networks."10-microvm-dev".dhcpV4Config.ClientIdentifier;
      interface = lib.getAttrs [ "type" "id" "mac" ] (lib.head shop.microvm.interfaces);
    };
    expected = {
      network = "ipv4";
      client = "mac";
      interface = {
        type = "tap";
        id = "mvm-shop";
        mac = "02:5f:a8:d7:9a:00";
      };
    };
  };
  "the project is shared through the overlay" = {
    expr = lib.getAttrs [ "source" "mountPoint" "proto" "readOnly" "socket" ] (share shop "project");
    expected = {
      source = "/run/microvm-dev/self/project";
      mountPoint = "/project";
      proto = "virtiofs";
      readOnly = false;
      socket = "virtiofs-project.sock";
    };
  };
  "the host's store is read-only" = {
    expr = (share shop "ro-store").readOnly;
    expected = true;
  };
  "state has a disk at /var" = {
    expr = map (
      volume: lib.getAttrs [ "image" "size" "mountPoint" "fsType" ] volume
    ) db.microvm.volumes;
    expected = [
      {
        image = "state.img";
        size = 8192;
        mountPoint = "/var";
        fsType = "ext4";
      }
    ];
  };
  "variables reach every session" = {
    expr = shop.environment.variables.RAILS_ENV;
    expected = "development";
  };
  "the guest has no firewall of its own unless it is asked for, which is open for ssh and forwards" =
    {
      expr = {
        without = shop.networking.firewall.enable;
        "with" = lib.getAttrs [
          "enable"
          "allowedTCPPorts"
          "allowedUDPPorts"
        ] (world.guest odd "watched").networking.firewall;
      };
      expected = {
        without = false;
        "with" = {
          enable = true;
          allowedTCPPorts = [
            22
            3000
          ];
          allowedUDPPorts = [ 53 ];
        };
      };
    };
  "guestConfig and guestModules are the guest's" = {
    expr = {
      config = (world.guest odd "watched").networking.domain;
      module = (world.guest odd "watched").time.timeZone;
      version = (world.guest odd "watched").system.stateVersion;
      default = shop.system.stateVersion;
    };
    expected = {
      config = "example.org";
      module = "Europe/Vienna";
      version = "23.11";
      default = "24.11";
    };
  };
  "a devenv guest can build" = {
    expr =
      let
        guest = world.guest odd "watched";
      in
      {
        devenv = lib.any (package: lib.getName package == "devenv") guest.environment.systemPackages;
        direnv = guest.programs.direnv.enable;
        store = guest.microvm.writableStoreOverlay;
        plain = shop.microvm.writableStoreOverlay;
      };
    expected = {
      devenv = true;
      direnv = true;
      store = "/nix/.rw-store";
      plain = null;
    };
  };
  "further shares, disks and a read-only project are as declared" = {
    expr =
      let
        guest = world.guest odd "watched";
      in
      {
        data = lib.getAttrs [ "source" "readOnly" ] (share guest "data");
        out = lib.getAttrs [ "source" "readOnly" ] (share guest "out");
        project = lib.getAttrs [ "source" "readOnly" ] (share guest "project");
        volumes = map (
          volume: lib.getAttrs [ "image" "size" "fsType" "readOnly" ] volume
        ) guest.microvm.volumes;
        spec = odd.services.microvm-dev.specs.watched ? project;
      };
    expected = {
      data = {
        source = "/srv/data";
        readOnly = true;
      };
      out = {
        source = "/srv/out";
        readOnly = false;
      };
      project = {
        source = "/srv/watched";
        readOnly = true;
      };
      volumes = [
        {
          image = "cache.img";
          size = 100;
          fsType = "btrfs";
          readOnly = true;
        }
      ];
      spec = false;
    };
  };
}
