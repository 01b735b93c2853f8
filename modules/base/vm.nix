# The options of each VM that say what it is. The other rooms add theirs to the same submodule.
{
  config,
  lib,
  ...
}:
let
  inherit (lib) mkOption types;
  hypervisors = (import ../lib).hypervisors;
  host = config.system;

  removed = name: reason: lib.mkRemovedOptionModule [ name ] reason;

  vm =
    { config, ... }:
    {
      imports = [
        (removed "rootPassword" "No VM has a password: log in by a key of `authorizedKeys`, or with `mvm shell` on the host.")
        (removed "balloonMem" "microvm.nix dropped it; set `guestConfig.microvm.balloon = true` where the hypervisor supports it.")
      ];

      options = {
        # Where the modules for removed options put theirs; base/assertions.nix passes them on.
        assertions = mkOption {
          type = types.listOf types.raw;
          internal = true;
          default = [ ];
        };
        warnings = mkOption {
          type = types.listOf types.str;
          internal = true;
          default = [ ];
        };

        enable = mkOption {
          type = types.bool;
          default = true;
          description = "Whether there is this VM. What it has written stays when it is switched off.";
        };

        vcpu = mkOption {
          type = types.ints.between 1 255;
          default = 2;
          description = "Virtual processors.";
        };

        mem = mkOption {
          type = types.ints.between 128 1048576;
          default = 1024;
          example = 4096;
          description = "Memory of the guest, in MiB.";
        };

        hypervisor = mkOption {
          type = types.enum (lib.attrNames hypervisors);
          default = "qemu";
          description = ''
            The hypervisor, one of microvm.nix's for Linux. What each can't do is refused with the option that asks for
            it: firecracker has no shared directories, so no project; kvmtool and crosvm have no read-only ones by 9p.
          '';
        };

        copies = mkOption {
          type = types.nullOr (types.ints.between 1 999);
          default = null;
          example = 8;
          description = ''
            How many VMs of this description: NAME-1 to NAME-N, from one evaluated guest. Each has its own address, host
            name, machine id, ssh host key, changes to the project, disks and forwards. `null` makes one VM called NAME.
          '';
        };

        autostart = mkOption {
          type = types.bool;
          default = true;
          description = "Whether it starts with the host.";
        };

        user = {
          name = mkOption {
            type = types.str;
            default = "root";
            example = "dev";
            description = "The guest's user that `mvm shell` logs in as.";
          };
          uid = mkOption {
            type = types.ints.u32;
            default = if config.user.name == "root" then 0 else 1000;
            defaultText = lib.literalExpression ''if user.name == "root" then 0 else 1000'';
            description = "Its id; that of the project's owner on the host, if the user is to own the project.";
          };
          gid = mkOption {
            type = types.ints.u32;
            default = if config.user.name == "root" then 0 else 100;
            defaultText = lib.literalExpression ''if user.name == "root" then 0 else 100'';
            description = "Id of its group.";
          };
        };

        authorizedKeys = mkOption {
          type = types.listOf types.singleLineStr;
          default = [ ];
          example = [ "ssh-ed25519 AAAA… ada@laptop" ];
          description = ''
            Public ssh keys that log in as {option}`user.name`, besides the host's own key, which `mvm shell` uses. There
            are no passwords.
          '';
        };

        environment = mkOption {
          type = types.attrsOf types.singleLineStr;
          default = { };
          example = {
            RAILS_ENV = "development";
          };
          description = "Variables of every session in the guest. They are in the Nix store: no place for secrets.";
        };

        guestModules = mkOption {
          type = types.listOf types.deferredModule;
          default = [ ];
          example = lib.literalExpression "[ ./guest.nix inputs.some-project.nixosModules.default ]";
          description = "NixOS modules of the guest.";
        };

        guestConfig = mkOption {
          type = types.deferredModule;
          default = { };
          example = lib.literalExpression "{ services.postgresql.enable = true; }";
          description = "NixOS configuration of the guest.";
        };

        stateVersion = mkOption {
          type = types.strMatching "[0-9]{2}\\.[0-9]{2}";
          default = host.stateVersion;
          defaultText = lib.literalExpression "config.system.stateVersion";
          example = "26.05";
          description = "{option}`system.stateVersion` of the guest.";
        };

        limits = {
          memory = mkOption {
            type = types.nullOr types.ints.positive;
            default = config.mem + 1024;
            defaultText = lib.literalExpression "mem + 1024";
            description = "Memory of the hypervisor's process, the guest's included, in MiB; beyond it is ended. `null`: no limit.";
          };
          cpu = mkOption {
            type = types.nullOr types.ints.positive;
            default = config.vcpu * 100 + 100;
            defaultText = lib.literalExpression "vcpu * 100 + 100";
            example = 150;
            description = "Processor time in percent of one processor. `null`: no limit.";
          };
          tasks = mkOption {
            type = types.nullOr types.ints.positive;
            default = 1024;
            description = "Threads of the hypervisor. `null`: no limit.";
          };
          io = mkOption {
            type = types.nullOr (types.ints.between 1 10000);
            default = null;
            example = 50;
            description = "Share of disk bandwidth next to other services', which have 100 (`IOWeight=` of systemd). `null`: the same as others.";
          };
        };

        parts = mkOption {
          type = types.listOf types.deferredModule;
          internal = true;
          default = [ ];
          description = "What the rooms add to the guest.";
        };
      };
    };
in
{
  options.services.microvm-dev.vms = mkOption {
    type = types.attrsOf (types.submodule vm);
    default = { };
    example = lib.literalExpression ''
      {
        shop = {
          projectDir = "/home/ada/shop";
          forwardPorts = [ { host = 8080; guest = 3000; } ];
          guestConfig = { pkgs, ... }: { environment.systemPackages = [ pkgs.nodejs ]; };
        };
      }
    '';
    description = "The VMs, by name.";
  };
}
