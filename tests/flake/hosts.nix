# hosts/: each as it is, as the template has it, and what makes the hypervisor what it says it is.
{ lib, world, ... }:
let
  support = import ./support/flake.nix { inherit lib world; };
  inherit (support) builds extended self;
  host = name: self.nixosConfigurations.${name}.config;
  hypervisor = host "hypervisor";
  vms = [
    "vm1"
    "vm2"
    "vm3"
    "vm4"
  ];
  failed =
    config:
    map (assertion: assertion.message) (lib.filter (assertion: !assertion.assertion) config.assertions);
  shares =
    config:
    lib.listToAttrs (
      map (share: lib.nameValuePair share.mountPoint share.source) config.microvm.shares
    );
  unit = world.ownLines hypervisor;

  # Each evaluation takes seconds: what several tests want differently is in these two.
  fifth = {
    hypervisor.vms = lib.mkForce { vm5 = 5; };
  };
  changed = extended "hypervisor" [
    fifth
    { hypervisor.zfs.enable = lib.mkForce false; }
  ];
  wrong = extended "hypervisor" [
    {
      hypervisor.authorizedKeys = lib.mkForce [ ];
      hypervisor.vms = lib.mkForce {
        vm1 = 1;
        a-long-name-it-is = 1;
      };
      # No configurations of these names are there to look into.
      microvm.vms = lib.mkForce { };
    }
  ];
in
{
  "the flake has these hosts, and the template's flake the same" = {
    expr = {
      here = lib.attrNames self.nixosConfigurations;
      template = lib.attrNames support.hosts.nixosConfigurations;
    };
    expected = lib.genAttrs [ "here" "template" ] (_: [ "hypervisor" ] ++ vms ++ [ "workstation" ]);
  };

  "every host can be built, with a key without a warning" = {
    expr = lib.genAttrs (lib.attrNames self.nixosConfigurations) (
      name:
      let
        config = host name;
      in
      {
        inherit (config) warnings;
        builds = builds config.system.build.toplevel;
      }
    );
    expected = lib.genAttrs ([ "hypervisor" ] ++ vms ++ [ "workstation" ]) (_: {
      warnings = [ ];
      builds = true;
    });
  };

  "the template's hypervisor is the flake's" = {
    expr =
      support.hosts.nixosConfigurations.hypervisor.config.networking.nftables.tables.hypervisor.content;
    expected = hypervisor.networking.nftables.tables.hypervisor.content;
  };

  "each VM has its own network, and its interface on the hypervisor the name that its bridge takes" =
    {
      expr = lib.genAttrs vms (
        name:
        let
          vm = host name;
          interface = lib.head vm.microvm.interfaces;
        in
        {
          address = vm.systemd.network.networks."10-uplink".address;
          inherit (interface) mac;
          bridge = hypervisor.systemd.network.networks."10-${interface.id}".networkConfig.Bridge;
          gateway = hypervisor.systemd.network.networks."10-br-${name}".address;
        }
      );
      expected = lib.listToAttrs (
        lib.imap1 (
          number: name:
          lib.nameValuePair name {
            address = [ "10.${toString number}.0.2/24" ];
            mac = "02:00:0a:0${toString number}:00:02";
            bridge = "br-${name}";
            gateway = [ "10.${toString number}.0.1/24" ];
          }
        ) vms
      );
    };

  "a VM's /etc and /var are the hypervisor's directories, mounted in stage 1, and its store is read-only" =
    {
      expr =
        let
          vm = host "vm3";
        in
        {
          shares = shares vm;
          early = lib.genAttrs [ "/etc" "/var" ] (path: vm.fileSystems.${path}.neededForBoot);
          readOnly = map (share: share.tag) (lib.filter (share: share.readOnly) vm.microvm.shares);
          root = vm.fileSystems."/".fsType;
        };
      expected = {
        shares = {
          "/etc" = "/var/lib/microvms/vm3/etc";
          "/nix/.ro-store" = "/nix/store";
          "/var" = "/var/lib/microvms/vm3/var";
        };
        early = {
          "/etc" = true;
          "/var" = true;
        };
        readOnly = [ "store" ];
        root = "tmpfs";
      };
    };

  "a VM's storage is made before it is installed, and installed it is by what `microvm` leaves" = {
    expr = lib.filter (line: lib.hasInfix "Condition" line || lib.hasInfix "After=" line) (
      lib.splitString "\n" (unit "install-microvm-vm1.service")
    );
    expected = [
      "After=hypervisor-storage@vm1.service"
      "ConditionPathExists=!/var/lib/microvms/vm1/current"
    ];
  };

  "only the VMs of the table have their files there, whatever else runs on the machine" = {
    expr = {
      all = lib.filter (lib.hasInfix "storage") hypervisor.systemd.services."microvm-virtiofsd@".requires;
      theirs = lib.genAttrs vms (name: hypervisor.systemd.services."microvm-virtiofsd@${name}".requires);
    };
    expected = {
      all = [ ];
      theirs = lib.genAttrs vms (name: [ "hypervisor-storage@${name}.service" ]);
    };
  };

  "no unit of the storage destroys anything" = {
    expr = lib.filter (word: lib.hasInfix word (unit "hypervisor-storage@.service")) [
      "destroy"
      "rollback"
      "rm "
      "zpool"
    ];
    expected = [ ];
  };

  "snapshots are of the VMs' datasets" = {
    expr = {
      inherit (hypervisor.services.sanoid) enable;
      inherit (hypervisor.services.sanoid.datasets."tank/microvms") recursive use_template;
    };
    expected = {
      enable = true;
      recursive = true;
      use_template = [ "microvms" ];
    };
  };

  "the four networks are advertised" = {
    expr = hypervisor.services.tailscale.extraSetFlags;
    expected = [ "--advertise-routes=10.1.0.0/24,10.2.0.0/24,10.3.0.0/24,10.4.0.0/24" ];
  };

  "VMs are updated from the flake by name" = {
    expr = lib.genAttrs vms (name: hypervisor.microvm.vms.${name}.updateFlake);
    expected = lib.genAttrs vms (_: "git+file:///etc/nixos");
  };

  "a VM that is not in the table says where to add it" = {
    expr = failed (extended "vm1" [ { networking.hostName = lib.mkForce "vm9"; } ]);
    expected = [ "vm9 is no VM of the hypervisor: add a line for it to hosts/hypervisor/vms.nix." ];
  };

  "a fifth VM is a line in the table" = {
    expr =
      let
        vm = extended "vm1" [
          fifth
          { networking.hostName = lib.mkForce "vm5"; }
        ];
      in
      {
        address = vm.systemd.network.networks."10-uplink".address;
        vms = lib.attrNames changed.microvm.vms;
        routes = changed.services.tailscale.extraSetFlags;
        failed = failed vm;
      };
    expected = {
      address = [ "10.5.0.2/24" ];
      vms = [ "vm5" ];
      routes = [ "--advertise-routes=10.5.0.0/24" ];
      failed = [ ];
    };
  };

  "without ZFS there is no pool to import, and the directories are made all the same" = {
    expr = {
      zfs = lib.hasInfix "zfs" (world.ownLines changed "hypervisor-storage@.service");
      directories = lib.hasInfix "/var/lib/microvms/%i/etc" (
        world.ownLines changed "hypervisor-storage@.service"
      );
      pools = changed.boot.zfs.extraPools;
      snapshots = changed.services.sanoid.enable;
    };
    expected = {
      zfs = false;
      directories = true;
      pools = [ ];
      snapshots = false;
    };
  };

  "one number for two VMs is refused, and so is a name that gives too long an interface" = {
    expr = lib.filter (lib.hasPrefix "hypervisor.vms:") (failed wrong);
    expected = [
      ''
        hypervisor.vms: two VMs have the same number (1, 1), and so the same
        network. Give each its own in hosts/hypervisor/vms.nix.
      ''
      ''
        hypervisor.vms: a-long-name-it-is: names have at most 11 characters, since `tap-NAME` is the
        name of a network interface, which Linux limits to 15. Use a shorter one in hosts/hypervisor/vms.nix.
      ''
    ];
  };

  "without a key the hypervisor says that nobody gets in, and where to put it" = {
    expr = map (
      warning:
      lib.hasInfix "nobody can log in" warning && lib.hasInfix "hosts/hypervisor/site.nix" warning
    ) wrong.warnings;
    expected = [ true ];
  };

  "the workstation has two VMs of one checkout, and its user may use them" = {
    expr =
      let
        config = host "workstation";
      in
      {
        projects = lib.mapAttrs (_: vm: vm.projectDir) config.services.microvm-dev.vms;
        member =
          lib.elem "microvm-dev" config.users.users.ada.extraGroups
          || lib.elem "ada" config.users.groups.microvm-dev.members;
      };
    expected = {
      projects = {
        agent = "/home/ada/shop";
        shop = "/home/ada/shop";
      };
      member = true;
    };
  };
}
