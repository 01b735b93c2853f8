# hosts/hypervisor with two of its VMs: a dataset each, reached from the hypervisor and from nowhere they shouldn't be,
# and what they keep.
{ self }:
{
  name = "microvm-dev-hypervisor";

  node.pkgsReadOnly = false;
  # What hosts/default.nix hands to the modules there.
  node.specialArgs = {
    inherit self;
    microvm-dev = self;
  };

  defaults =
    { pkgs, ... }:
    {
      environment.systemPackages = [ pkgs.curl ];
    };

  nodes = {
    hypervisor =
      { lib, pkgs, ... }:
      let
        keys = import (pkgs.path + "/nixos/tests/ssh-keys.nix") pkgs;
        # The VMs as the flake has them, with a key that the test knows, and smaller.
        small = {
          hypervisor.authorizedKeys = lib.mkForce [ keys.snakeOilPublicKey ];
          microvm = {
            vcpu = 1;
            mem = 768;
          };
        };
      in
      {
        imports = [ ../../hosts/hypervisor ];
        microvm.vms = lib.genAttrs [ "vm1" "vm2" ] (name: {
          flake = lib.mkForce (
            self
            // {
              nixosConfigurations.${name} = self.nixosConfigurations.${name}.extendModules {
                modules = [ small ];
              };
            }
          );
        });

        hypervisor = {
          uplink = lib.mkForce "eth1";
          authorizedKeys = lib.mkForce [ keys.snakeOilPublicKey ];
          tailscale.enable = lib.mkForce false;
          vms = lib.mkForce {
            vm1 = 1;
            vm2 = 2;
          };
        };
        networking.interfaces.eth1.useDHCP = false;
        # The test's machine boots by itself, from its own disk.
        boot.loader.systemd-boot.enable = lib.mkForce false;
        # The pool is made in the test, as the how-to has it.
        microvm.autostart = lib.mkForce [ ];

        virtualisation = {
          cores = 2;
          memorySize = 4096;
          emptyDiskImages = [ 4096 ];
        };
        environment.etc."ssh/test-key" = {
          source = keys.snakeOilPrivateKey;
          mode = "0400";
        };
      };

    # Somebody on the network outside, with a service.
    outside =
      { lib, pkgs, ... }:
      {
        networking.firewall.allowedTCPPorts = [ 80 ];
        systemd.services.web = {
          wantedBy = [ "multi-user.target" ];
          serviceConfig = {
            ExecStart = "${lib.getExe pkgs.python3} -m http.server 80";
            DynamicUser = true;
            AmbientCapabilities = "CAP_NET_BIND_SERVICE";
            RuntimeDirectory = "web";
            WorkingDirectory = "/run/web";
          };
        };
      };
  };

  testScript = ''
    SSH = "ssh -i /etc/ssh/test-key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=5 root@10.{}.0.2 '{}'"
    PATIENCE = 900


    def within(number, command):
        return hypervisor.succeed(SSH.format(number, command))


    def not_within(number, command):
        hypervisor.fail(SSH.format(number, command))


    start_all()
    outside.wait_for_open_port(80)
    hypervisor.wait_for_unit("multi-user.target")
    hypervisor.succeed("zpool create -O mountpoint=none tank /dev/vdb")

    with subtest("VMs come up, each on a dataset of its own"):
        hypervisor.succeed("systemctl start microvm@vm1.service microvm@vm2.service")
        for number in (1, 2):
            hypervisor.wait_until_succeeds(SSH.format(number, "true"), timeout=PATIENCE)
            hypervisor.succeed(f"test \"$(zfs get -H -o value mountpoint,setuid tank/microvms/vm{number} | xargs)\" = '/var/lib/microvms/vm{number} off'")

    with subtest("a VM reaches what is outside, and neither another VM nor the hypervisor"):
        within(1, "curl --silent --fail --max-time 10 http://outside/ --resolve outside:80:192.168.1.2")
        not_within(1, "curl --silent --max-time 5 telnet://10.2.0.2:22 </dev/null")
        not_within(1, "curl --silent --max-time 5 telnet://10.1.0.1:22 </dev/null")
        not_within(1, "curl --silent --max-time 5 telnet://192.168.1.1:22 </dev/null")
        # The same from where it is allowed: it is not the service that is missing.
        hypervisor.succeed("curl --silent --max-time 5 telnet://10.2.0.2:22 </dev/null | grep -q SSH")

    with subtest("nobody outside reaches a VM"):
        outside.succeed("ip route add 10.1.0.0/24 via 192.168.1.1")
        outside.fail("curl --silent --max-time 5 telnet://10.1.0.2:22 </dev/null")

    with subtest("/etc and /var outlive a VM, with owners, modes and ACLs; the rest does not"):
        before = within(1, "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub")
        within(1, "echo kept >/var/kept && chown nobody /var/kept && chmod 0640 /var/kept && echo gone >/root/gone")
        hypervisor.succeed("systemctl restart microvm@vm1.service")
        hypervisor.wait_until_succeeds(SSH.format(1, "true"), timeout=PATIENCE)
        assert within(1, "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub") == before
        assert within(1, "stat -c %U:%a /var/kept").strip() == "nobody:640"
        not_within(1, "test -e /root/gone")
        within(1, "journalctl --list-boots | grep -q ^.*-1")

    with subtest("the dataset and what is in it outlive the storage unit's next run"):
        hypervisor.succeed("systemctl restart hypervisor-storage@vm2.service", "zfs list tank/microvms/vm2")
        hypervisor.succeed("grep -q kept /var/lib/microvms/vm1/var/kept")
  '';
}
