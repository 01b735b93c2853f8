# The module on a host: VMs are apart, forwards last, the project on the host stays as it is, copies differ.
{ self }:
{
  name = "microvm-dev-module";

  # The module brings an overlay.
  node.pkgsReadOnly = false;

  nodes.host =
    { lib, pkgs, ... }:
    let
      # Serves the VM's copy of the project.
      server = {
        projectDir = "/srv/project";
        overlayfs.enable = true;
        guestConfig =
          { pkgs, ... }:
          {
            environment.systemPackages = [ pkgs.curl ];
            systemd.services.server = {
              wantedBy = [ "multi-user.target" ];
              unitConfig.RequiresMountsFor = "/project";
              serviceConfig = {
                ExecStart = "${lib.getExe pkgs.python3} -m http.server 8000";
                WorkingDirectory = "/project";
              };
            };
          };
      };
    in
    {
      imports = [ self.nixosModules.default ];

      virtualisation = {
        cores = 2;
        memorySize = 6144;
        diskSize = 8192;
      };

      systemd.tmpfiles.settings.project = {
        "/srv/project".d.mode = "0755";
        "/srv/project/greeting".f = {
          mode = "0644";
          argument = "from the host";
        };
      };
      environment.systemPackages = [ pkgs.curl ];
      networking.nftables.enable = true;

      services.microvm-dev = {
        enable = true;
        vms = {
          one = server // {
            mem = 768;
            forwardPorts = [
              {
                host = 8080;
                guest = 8000;
              }
            ];
          };
          two = server // {
            mem = 768;
          };
          many = server // {
            mem = 768;
            copies = 2;
            forwardPorts = [
              {
                host = 9000;
                guest = 8000;
              }
            ];
          };
        };
      };
    };

  testScript = ''
    import json

    GREETING = "curl --silent --fail --max-time 10 http://127.0.0.1:{}/greeting"
    # Guests start one after the other, on two processors, under whatever acceleration there is.
    PATIENCE = 900


    def serves(port):
        return host.wait_until_succeeds(GREETING.format(port), timeout=PATIENCE)


    def address(name):
        return json.loads(host.succeed(f"cat /etc/microvm-dev/vms/{name}.json"))["network"]["address"].split("/")[0]


    host.wait_for_unit("multi-user.target")

    with subtest("forwards lead into VMs, and a copy's is the next port"):
        for port in (8080, 9000, 9001):
            assert "from the host" in serves(port)

    with subtest("mvm shows what is declared"):
        names = {vm["name"] for vm in json.loads(host.succeed("mvm list --json"))}
        assert {"one", "two", "many-1", "many-2"} <= names, names

    with subtest("VMs don't reach each other, nor the host's services"):
        # That it serves at all, to tell a wall from a VM that is not up.
        host.wait_until_succeeds("mvm exec two -- curl --silent --fail http://127.0.0.1:8000/greeting", timeout=PATIENCE)
        host.fail(f"mvm exec one -- curl --silent --fail --max-time 5 http://{address('two')}:8000/greeting")
        gateway = address("one").rsplit(".", 1)[0] + ".1"
        host.fail(f"mvm exec one -- curl --silent --fail --max-time 5 http://{gateway}:8080/greeting")

    with subtest("what a guest does to its copy, neither the host nor another VM sees"):
        host.succeed("mvm exec one -- sh -c 'echo changed >/project/greeting && touch /project/new'")
        assert "changed" in serves(8080)
        assert "from the host" in serves(9000)
        host.succeed("test \"$(ls /srv/project)\" = greeting", "grep -q 'from the host' /srv/project/greeting")

    with subtest("copies know who they are"):
        identities = {
            name: [host.succeed(f"mvm exec {name} -- {command}").strip() for command in ("hostname", "cat /etc/machine-id")]
            for name in ("many-1", "many-2")
        }
        assert identities["many-1"][0] == "many-1", identities
        assert identities["many-2"][0] == "many-2", identities
        assert identities["many-1"][1] != identities["many-2"][1], identities
        assert address("many-1") != address("many-2")

    with subtest("forwards outlive the firewall's reload, and somebody's flush"):
        host.succeed("systemctl reload-or-restart nftables.service")
        serves(8080)
        host.succeed("nft flush ruleset", "systemctl restart nftables.service")
        serves(8080)

    with subtest("and a reboot"):
        host.shutdown()
        host.start()
        assert "from the host" in serves(8080)
  '';
}
