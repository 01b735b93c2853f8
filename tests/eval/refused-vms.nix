# What can't be is refused, with the VM, the option and the fix in the message. Each case breaks one thing in a host that
# is otherwise right, and must get exactly the message named: no more, so that one mistake is one message.
{ lib, world, ... }:
let
  refused = settings: world.failed (world.sketch settings);
  shop = vm: refused { vms.shop = vm; };
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
}
