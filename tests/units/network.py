"""What surrounds a VM: the network comes up, a VM is prepared and attached, forwards listen, everything comes back after a
flush and a restart, and all is undone. microvm.nix's tap and file server are two small units here."""

from container import Scenario, Step

TAP = """
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip tuntap add name mvm-%i mode tap vnet_hdr && ip link set mvm-%i up'
ExecStop=ip link delete mvm-%i
"""

SERVER = """
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ls /run/microvm-dev/self >/mnt/test/seen-by-%i; echo changed >/run/microvm-dev/self/project/file'
"""

SETUP = """
mkdir -p /home/ada/shop /home/ada/job
echo original >/home/ada/shop/file
chown -R 1000:100 /home/ada
"""

LISTENS = "ss -Hlnt sport = :8080 | grep -q 127.0.0.1:8080"


def sees_no_project(answer):
    return "project" not in answer and "(exit code" not in answer


SCENARIO = Scenario(
    title="the network's units",
    programs=("mvm-unit", "mvm-ports", "mvm-spec"),
    units={"microvm-tap-interfaces@.service": TAP, "microvm-virtiofsd@.service": SERVER},
    setup=SETUP,
    steps=[
        Step("the directories are made", "systemd-tmpfiles --create /etc/tmpfiles.d/microvm-dev.conf"),
        Step("the network starts, with its hardening", "systemctl start microvm-dev-network"),
        Step("a VM's directory is prepared", "systemctl start microvm-dev-prepare@shop"),
        Step(
            "its copy of the project is mounted where all see it",
            "cat /var/lib/microvm-dev/shop/merged/file",
            "original\n",
        ),
        Step(
            "the copy is whose the project is",
            "stat -c '%a %u %g' /home/ada/shop /var/lib/microvm-dev/shop/merged | uniq | wc -l",
            "1\n",
        ),
        Step(
            "its identity is root's alone",
            "stat -c '%n %a %U' /var/lib/microvm-dev/shop/identity/ssh_host_ed25519_key /var/lib/microvm-dev",
            "/var/lib/microvm-dev/shop/identity/ssh_host_ed25519_key 600 root\n/var/lib/microvm-dev 700 root\n",
        ),
        Step("its tap is put on the network", "systemctl start microvm-dev-attach@shop"),
        Step(
            "the tap is an isolated port of the bridge",
            'ip -d link show mvm-shop | grep -o "master virbr-mvm\\|isolated on"',
            "master virbr-mvm\nisolated on\n",
        ),
        Step(
            "the bridge has the address of the settings",
            "ip -brief address show dev virbr-mvm | grep -o 192.168.100.1/24",
            "192.168.100.1/24\n",
        ),
        Step(
            "names and addresses are served on the bridge",
            "wait_for 'ss -Hlnu sport = :53 | grep -q 192.168.100.1:53 && ss -Hlnu sport = :67 | grep -q virbr-mvm'",
        ),
        Step("a declared forward listens on loopback", f"wait_for '{LISTENS}'"),
        Step("a VM with restricted egress is attached", "systemctl start microvm-dev-prepare@job-1 microvm-dev-attach@job-1"),
        Step("and has a name server of its own", "wait_for 'ss -Hlnu | grep -q 192.168.100.1:35300'"),
        Step("a file server starts", "systemctl start microvm-virtiofsd@shop"),
        Step("it finds its VM's own under the common names", "cat /mnt/test/seen-by-shop", "identity\nproject\n"),
        Step("what it writes is in the VM's copy", "cat /var/lib/microvm-dev/shop/merged/file", "changed\n"),
        Step("and not in the project", "cat /home/ada/shop/file", "original\n"),
        Step(
            "a server of a VM without a project has nowhere to write",
            "systemctl start microvm-virtiofsd@db",
            "(exit code 1)\n",
        ),
        Step("nor does it see another VM's", "cat /mnt/test/seen-by-db", sees_no_project),
        Step("others may flush the rules", "nft flush ruleset"),
        Step("they come back", "wait_for 'nft list table inet microvm-dev >/dev/null 2>&1'"),
        Step("forwards are put back after the firewall", "systemctl start microvm-dev-sync"),
        Step("and when it is reloaded", "systemctl reload microvm-dev-sync"),
        Step("the keeper restarts", "systemctl restart microvm-dev-network"),
        Step("and no VM with it", "systemctl is-active microvm-dev-attach@shop", "active\n"),
        Step(
            "names are served again, by servers of whom it can end the last one's",
            "wait_for 'ss -Hlnu | grep -q 192.168.100.1:35300 && ss -Hlnu sport = :67 | grep -q virbr-mvm'",
        ),
        Step("which it then serves again", f"wait_for '{LISTENS}'"),
        Step("a VM's own name server ends with it", "systemctl stop microvm-dev-attach@job-1; wait_for '! ss -Hlnu | grep -q :35300'"),
        Step("a VM is taken off the network", "systemctl stop microvm-dev-attach@shop"),
        Step("and its forwards with it", "wait_for '! ss -Hlnt sport = :8080 | grep -q 8080'"),
        Step("its tap stays with who made it, off the bridge", "ip -d link show mvm-shop | grep -c master; true", "0\n"),
        Step(
            "the network's process says nothing of what it may not do",
            "journalctl --quiet --output=cat --unit=microvm-dev-network | grep -i 'permi\\|denied\\|not allowed'; true",
        ),
        Step("its copy is unmounted", "systemctl stop microvm-virtiofsd@shop microvm-dev-prepare@shop"),
        Step("everywhere", 'grep -c "^[^ ]* /var/lib/microvm-dev/shop/merged " /proc/mounts; true', "0\n"),
        Step("and what it wrote is gone", "ls -A /var/lib/microvm-dev/shop/overlay/upper"),
        Step("the project is as it was", "cat /home/ada/shop/file", "original\n"),
        Step(
            "no unit of ours has failed",
            "systemctl --failed --no-legend --plain list-units 'microvm-dev-*'",
        ),
    ],
)
