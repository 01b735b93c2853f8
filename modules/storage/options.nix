{ lib, ... }:
let
  inherit (lib) mkOption types;

  share = types.submodule {
    options = {
      tag = mkOption {
        type = types.strMatching "[a-z0-9][a-z0-9-]{0,35}";
        example = "datasets";
        description = "Name of the share, unique in the VM; `project`, `identity` and `ro-store` are taken.";
      };
      source = mkOption {
        type = types.str;
        example = "/srv/datasets";
        description = "Directory on the host.";
      };
      mountPoint = mkOption {
        type = types.str;
        example = "/srv/datasets";
        description = "Where the guest finds it.";
      };
      readOnly = mkOption {
        type = types.bool;
        default = true;
        description = "Whether the guest can't write to it. What it may write, it may fill with anything: the directory is the host's own.";
      };
    };
  };

  volume = types.submodule {
    options = {
      image = mkOption {
        type = types.str;
        example = "data.img";
        description = "Image file: a name in the VM's directory below /var/lib/microvms, or an absolute path. Made when missing.";
      };
      size = mkOption {
        type = types.ints.positive;
        example = 4096;
        description = "Size in MiB.";
      };
      mountPoint = mkOption {
        type = types.str;
        example = "/data";
        description = "Where the guest mounts it.";
      };
      fsType = mkOption {
        type = types.enum [
          "ext4"
          "xfs"
          "btrfs"
        ];
        default = "ext4";
        description = "File system.";
      };
      readOnly = mkOption {
        type = types.bool;
        default = false;
        description = "Whether the guest can't write to it.";
      };
    };
  };

  vm = {
    options = {
      projectDir = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "/home/ada/shop";
        description = ''
          Directory on the host that the VM works on a copy of, at `/project`. A string, not a Nix path: it is not copied
          to the store. Whatever the guest does, the directory stays as it is.
        '';
      };

      overlayfs.enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether the guest may change its view of {option}`projectDir` (copy on write). Without, `/project` is read-only.";
      };

      shareProtocol = mkOption {
        type = types.enum [
          "virtiofs"
          "9p"
        ];
        default = "virtiofs";
        description = ''
          How directories of the host reach the guest. With 9p the hypervisor itself serves them, as user `microvm`: it is
          slower, and sees only what that user may see.
        '';
      };

      shareStore = mkOption {
        type = types.nullOr types.bool;
        default = null;
        defaultText = lib.literalMD "whether the hypervisor has read-only shares of {option}`shareProtocol`";
        description = ''
          Whether the guest uses the host's `/nix/store`, read-only, which costs no disk and shows the guest everything in
          it. Without, it boots from an image with its own closure alone.
        '';
      };

      shares = mkOption {
        type = types.listOf share;
        default = [ ];
        description = "Further directories of the host. All copies share them.";
      };

      volumes = mkOption {
        type = types.listOf volume;
        default = [ ];
        description = "Disks. Each copy has its own.";
      };

      persistState = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether a stop keeps what the guest wrote to `/project` and `/var`, with the login user's home there. Everything
          else starts afresh at each boot.
        '';
      };

      stateDiskSize = mkOption {
        type = types.nullOr (types.ints.between 16 16777216);
        default = null;
        example = 8192;
        description = "Size of the disk for {option}`persistState`, in MiB; sparse, so only what is written takes space.";
      };
    };
  };
in
{
  options.services.microvm-dev.vms = mkOption { type = types.attrsOf (types.submodule vm); };
}
