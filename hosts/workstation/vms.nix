# The VMs of this machine.
{
  services.microvm-dev.vms =
    let
      # Both work on one checkout, each on its own copy. The directory itself they can't change.
      shop = {
        projectDir = "/home/ada/shop";
        overlayfs.enable = true;
        # The id of the directory's owner.
        user = {
          name = "dev";
          uid = 1000;
        };
        guestConfig =
          { pkgs, ... }:
          {
            environment.systemPackages = [
              pkgs.git
              pkgs.nodejs
            ];
          };
      };
    in
    {
      # Where the shop is tried out: `npm start` in `mvm shell shop`, http://localhost:3000 here.
      shop = shop // {
        mem = 3072;
        forwardPorts = [
          {
            host = 3000;
            guest = 3000;
          }
        ];
      };

      # For a program that is not trusted with more than it needs: it installs packages, and reaches nothing else.
      agent = shop // {
        autostart = false;
        egress = [ "registry.npmjs.org" ];
        limits.cpu = 100;
      };
    };
}
