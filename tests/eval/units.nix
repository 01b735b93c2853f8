# Units and how they hang together with microvm.nix's.
{ lib, world, ... }:
let
  inherit (world.hosts) desk nftables odd;
  unit = name: desk.systemd.services.${name};
  has = list: part: lib.all (entry: lib.elem entry list) part;
in
{
  "a VM starts after its project, identity and network" = {
    expr =
      has (unit "microvm@").requires [
        "microvm-dev-prepare@%i.service"
        "microvm-dev-attach@%i.service"
      ]
      && has (unit "microvm@").after [
        "microvm-dev-prepare@%i.service"
        "microvm-dev-attach@%i.service"
      ]
      && has (unit "microvm-dev-prepare@").before [
        "microvm-virtiofsd@%i.service"
        "microvm@%i.service"
      ]
      && has (unit "microvm-dev-attach@").before [ "microvm@%i.service" ];
    expected = true;
  };
  "a VM's network needs its tap, and survives a restart of the keeper" = {
    expr = {
      inherit (unit "microvm-dev-attach@") requires wants;
      after = has (unit "microvm-dev-attach@").after [ "microvm-dev-network.service" ];
    };
    expected = {
      requires = [ "microvm-tap-interfaces@%i.service" ];
      wants = [ "microvm-dev-network.service" ];
      after = true;
    };
  };
  "what surrounds a VM ends and starts anew with it" = {
    expr = map (name: (unit name).partOf) [
      "microvm-dev-prepare@"
      "microvm-dev-attach@"
    ];
    expected = [
      [ "microvm@%i.service" ]
      [ "microvm@%i.service" ]
    ];
  };
  "VMs of microvm.nix that are not ours pass by" = {
    expr = map (name: (unit name).unitConfig.ConditionPathExists) [
      "microvm-dev-prepare@"
      "microvm-dev-attach@"
    ];
    expected = [
      "/etc/microvm-dev/vms/%i.json"
      "/etc/microvm-dev/vms/%i.json"
    ];
  };
  "file servers find every VM's own under one name, and nothing that is another's" = {
    expr = lib.getAttrs [
      "TemporaryFileSystem"
      "BindPaths"
      "BindReadOnlyPaths"
    ] (unit "microvm-virtiofsd@").serviceConfig;
    expected = {
      TemporaryFileSystem = "/run/microvm-dev/self:ro";
      BindPaths = [ "-/var/lib/microvm-dev/%i/merged:/run/microvm-dev/self/project" ];
      BindReadOnlyPaths = [ "-/var/lib/microvm-dev/%i/identity:/run/microvm-dev/self/identity" ];
    };
  };
  "with 9p the hypervisor gets the same view, and only then" = {
    expr = map (name: odd.systemd.services."microvm@${name}".serviceConfig ? BindPaths) [
      "limited"
      "watched"
    ];
    expected = [
      true
      false
    ];
  };
  "forwards follow the firewall's reload, whichever firewall there is" = {
    expr =
      map
        (
          config:
          let
            sync = config.systemd.services.microvm-dev-sync;
          in
          {
            inherit (sync) partOf;
            reload = sync.unitConfig.ReloadPropagatedFrom;
            after = has sync.after sync.partOf;
            wantedBy = has sync.wantedBy sync.partOf;
          }
        )
        [
          desk
          nftables
        ];
    expected =
      map
        (firewall: {
          partOf = [ firewall ];
          reload = [ firewall ];
          after = true;
          wantedBy = true;
        })
        [
          "firewall.service"
          "nftables.service"
        ];
  };
  "without a firewall nothing waits for one" = {
    expr = odd.systemd.services.microvm-dev-sync.partOf;
    expected = [ ];
  };
  "a VM's unit has its limits, and by default room for the hypervisor" = {
    expr = lib.getAttrs [
      "MemoryMax"
      "CPUQuota"
      "TasksMax"
    ] desk.systemd.services."microvm@db".serviceConfig;
    expected = {
      MemoryMax = "2048M";
      CPUQuota = "300%";
      TasksMax = 1024;
    };
  };
  "limits are what is asked for, or none" = {
    expr =
      let
        of = name: odd.systemd.services."microvm@${name}".serviceConfig;
        keys = [
          "MemoryMax"
          "CPUQuota"
          "TasksMax"
          "IOWeight"
        ];
      in
      {
        limited = lib.getAttrs keys (of "limited");
        free = lib.filter (key: (of "free") ? ${key}) keys;
      };
    expected = {
      limited = {
        MemoryMax = "512M";
        CPUQuota = "50%";
        TasksMax = 99;
        IOWeight = 20;
      };
      free = [ ];
    };
  };
  "a VM whose spec changes is restarted" = {
    expr =
      let
        ours = name: lib.filter builtins.isString desk.systemd.services."microvm@${name}".restartTriggers;
        hash = name: builtins.hashString "sha256" (builtins.toJSON desk.services.microvm-dev.specs.${name});
      in
      {
        shop = lib.elem (hash "shop") (ours "shop");
        copy = lib.elem (hash "job-2") (ours "job-2");
      };
    expected = {
      shop = true;
      copy = true;
    };
  };
  "a VM starts with the host, unless it is told not to" = {
    expr = {
      desk = lib.sort lib.lessThan desk.microvm.autostart;
      odd = lib.sort lib.lessThan odd.microvm.autostart;
    };
    expected = {
      desk = [
        "db"
        "job-1"
        "job-2"
        "shop"
        "vmm-1"
        "vmm-2"
      ];
      odd = [
        "free"
        "limited"
        "watched"
      ];
    };
  };
  "a watcher is there for those who ask for it" = {
    expr = {
      watched = odd.systemd.services."microvm@watched".wants;
      free = odd.systemd.services."microvm@free".wants;
      none = desk.systemd.services ? "microvm-dev-watch@";
    };
    expected = {
      watched = [ "microvm-dev-watch@watched.service" ];
      free = [ ];
      none = false;
    };
  };
  "a host that does not enable it has nothing of it" = {
    expr =
      let
        config = world.hosts.without;
      in
      {
        units = lib.filter (lib.hasPrefix "microvm-dev") (lib.attrNames config.systemd.services);
        vms = config.microvm.vms;
        files = lib.filter (lib.hasPrefix "microvm-dev") (lib.attrNames config.environment.etc);
        group = config.users.groups ? microvm-dev;
      };
    expected = {
      units = [ ];
      vms = { };
      files = [ ];
      group = false;
    };
  };
}
