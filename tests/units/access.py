"""Who may what on a host with declared VMs: `mvm`'s verbs as a member of the group and as somebody else, with systemd, D-Bus,
polkit, the gate and OpenSSH as they are. The guest's kernel is stood for (guest.py)."""

import pathlib

import sshd
from container import Scenario, Step, fails, says

HERE = pathlib.Path(__file__).resolve().parent

VM = """
[Unit]
Requires=microvm-tap-interfaces@%i.service microvm-dev-prepare@%i.service microvm-dev-attach@%i.service
After=microvm-tap-interfaces@%i.service microvm-dev-prepare@%i.service microvm-dev-attach@%i.service
[Service]
ExecStart=/mnt/test/guest.py run %i
Restart=always
RestartSec=5s
SyslogIdentifier=microvm@%i
"""

TAP = """
[Unit]
PartOf=microvm@%i.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/mnt/test/guest.py plug %i
ExecStop=/mnt/test/guest.py unplug %i
"""

OTHER = """
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
"""

# ada is a member, bob is not; dev is the VM's user, whom the host need not have, and its server runs in the same files.
SETUP = """
cp /mnt/test/golden/polkit.rules /etc/polkit-1/rules.d/10-microvm-dev.rules
useradd --create-home --groups microvm-dev ada
useradd --create-home bob
useradd --create-home dev
usermod --password '*' dev
usermod --password '*' root
getent passwd sshd >/dev/null || useradd --system --home-dir /run/sshd sshd
mkdir -p /run/sshd /home/ada/shop /home/ada/job /project
echo original >/home/ada/shop/file
chown -R ada: /home/ada
systemd-tmpfiles --create /etc/tmpfiles.d/microvm-dev.conf
systemctl daemon-reload
systemctl start microvm-dev-network microvm-dev-gate.socket
state() { systemctl is-active "$1"; }
"""

MEMBERS = "only members of the group `microvm-dev`"
STARTERS = "only root and members of the group `microvm-dev`"


def names(expression):
    """A line of python3 on what `mvm … --json` printed."""
    return f"""python3 -c 'import json, sys; vms = json.load(sys.stdin); print({expression})'"""


STEPS = [
    # Before anything runs.
    Step("a member makes a VM of the own", "as ada mvm create try --no-project", says("made try")),
    Step(
        "declared VMs are listed next to it",
        "as ada mvm list -q",
        "db\njob-1\njob-2\nshop\ntry\nvmm-1\nvmm-2\n",
    ),
    Step(
        "and say that they are declared",
        "as ada mvm list --json | " + names('*(vm["name"] for vm in vms if vm["declared"] and vm["status"] == "stopped")'),
        "db job-1 job-2 shop vmm-1 vmm-2\n",
    ),
    Step(
        "a declared VM is none to be made",
        "as ada mvm create shop --no-project",
        fails("declared on this host", "services.microvm-dev.vms.shop"),
    ),
    Step(
        "a VM that never ran has the forwards of its declaration",
        "as ada mvm status shop",
        says("stopped", "127.0.0.1:8080", "/home/ada/shop"),
    ),
    # Who is no member, while it does not run.
    Step("nobody else starts a VM", "as bob mvm start shop", fails(STARTERS, "services.microvm-dev.users")),
    Step("nor by a shell", "as bob mvm shell shop", fails(STARTERS)),
    Step("and it did not start", "state microvm@shop", "inactive\n(exit code 3)\n"),
    # A member.
    Step("a member starts a VM", "as ada mvm start shop", says("shop runs")),
    Step("which says so when it runs already", "as ada mvm start shop", says("shop runs already")),
    Step(
        "it is listed as running",
        "as ada mvm list --json | " + names('*(vm["name"] for vm in vms if vm["status"] == "running")'),
        "shop\n",
    ),
    Step(
        "its status is that of its unit, and of its forwards",
        "as ada mvm status shop",
        says("running", "127.0.0.1:8080", "VMM ", "journalctl -u microvm@shop"),
    ),
    Step("a command runs in it, as its user", "as ada mvm exec shop -- id -un", "dev\n"),
    Step("or as root", "as ada mvm exec shop --root -- id -un", "root\n"),
    Step("in the project", "as ada mvm exec shop -- pwd", "/project\n"),
    Step("unless told otherwise", "as ada mvm exec shop -w /tmp -- pwd", "/tmp\n"),
    Step("its exit code is the command's", "as ada mvm exec shop -- sh -c 'exit 7'", "(exit code 7)\n"),
    Step(
        "in the guest's network, not in the host's",
        "as ada mvm exec shop -- ip -brief address show dev eth0 | grep -o 192.168.100.68/24",
        "192.168.100.68/24\n",
    ),
    Step("the project's directory names it", "as ada sh -c 'cd shop && echo pwd | mvm shell'", "/project\n"),
    Step("a shell reads commands", "echo pwd | as ada mvm shell shop", "/project\n"),
    Step(
        "a shell has a terminal",
        "as ada script -qec 'mvm shell shop -- tty' /dev/null",
        says("/dev/pts/"),
    ),
    Step(
        "files are copied out",
        "as ada mvm cp shop:/etc/hostname copied && cmp /home/ada/copied /etc/hostname",
    ),
    Step(
        "and directories in, with modes and links",
        "as ada sh -c 'mkdir -p tree/sub && echo 1 >tree/sub/-one && chmod 750 tree/sub && ln -s sub tree/link"
        " && mvm cp tree shop:/tmp/ && mvm cp shop:/tmp/tree back' && diff -r /home/ada/tree /home/ada/back"
        " && stat -c %a /tmp/tree/sub && readlink /tmp/tree/link",
        "750\nsub\n",
    ),
    Step(
        "ssh reaches it by name",
        "as ada sh -c 'mvm ssh-config shop >config && ssh -F config shop.mvm id -un'",
        "dev\n",
    ),
    Step(
        "without a name it knows all VMs, those that never ran, too",
        "as ada mvm ssh-config | grep ^Host | sort",
        "".join(f"Host {name}.mvm {name}\n" for name in ("db", "job-1", "job-2", "shop", "try", "vmm-1", "vmm-2")),
    ),
    Step(
        "the keys are for the member's eyes",
        "stat -c %a /home/ada/.local/state/microvm-dev/.declared/shop/ssh/user_key",
        "600\n",
    ),
    Step("a forward is added", "as ada mvm port shop 2200:22", says("127.0.0.1:2200")),
    Step("and listed", "as ada mvm port shop", says("127.0.0.1:2200", "127.0.0.1:8080")),
    Step("and works", "ssh-keyscan -p 2200 -t ed25519 127.0.0.1 2>&1 | grep -c '^.127.0.0.1.:2200 ssh-ed25519 '", "1\n"),
    Step("and is removed", "as ada mvm port shop --remove 2200", says("removed")),
    Step("after which nobody listens", "wait_for '! ss -Hlnt sport = :2200 | grep -q 2200'"),
    Step("a privileged port is not for members", "as ada mvm port shop 80:80", fails("privileged")),
    Step(
        "a declared forward is not removed",
        "as ada mvm port shop --remove 8080",
        fails("services.microvm-dev.vms.shop"),
    ),
    Step("its console is shown", "as ada mvm logs shop", says("shop: the console of a guest")),
    Step(
        "the last lines of it",
        "as ada mvm logs shop -n 1 | wc -l",
        "1\n",
    ),
    Step(
        "and followed",
        "as ada timeout 60 sh -c 'mvm logs shop -f -n 0 >followed & until grep -q [s]sh followed; do mvm exec shop -- true; done; kill $!'",
        "",
    ),
    Step("what systemd said is shown besides", "as ada mvm logs shop --vmm", says("Started microvm@shop.service")),
    Step("a VM without a journal has said nothing", "as ada mvm logs db", says("db printed nothing yet")),
    Step(
        "deleting it explains where it is declared",
        "as ada mvm delete shop",
        fails("services.microvm-dev.vms.shop"),
    ),
    Step("by force, too", "as ada mvm delete --force shop", fails("services.microvm-dev.vms.shop")),
    # Who is no member, while it runs.
    Step("nobody else stops it", "as bob mvm stop shop", fails(STARTERS)),
    Step("nor kills it", "as bob mvm stop --force shop", fails(STARTERS)),
    Step("nor restarts it", "as bob mvm restart shop", fails(STARTERS)),
    Step("nor runs a command in it", "as bob mvm exec shop -- true", fails(MEMBERS)),
    Step("nor opens a shell", "as bob mvm shell shop", fails(MEMBERS)),
    Step("nor copies files", "as bob mvm cp shop:/etc/hostname copied", fails(MEMBERS)),
    Step("nor gets its keys", "as bob mvm ssh-config shop", fails(MEMBERS)),
    Step("nor those of any", "as bob mvm ssh-config", says("left out", "members of the group `microvm-dev`")),
    Step("nor lists its forwards", "as bob mvm port shop", fails(MEMBERS)),
    Step("nor adds one", "as bob mvm port shop 2201:22", fails(MEMBERS)),
    Step("nor removes one", "as bob mvm port shop --remove 8080", fails(MEMBERS)),
    Step("nor reads its console", "as bob mvm logs shop", fails(MEMBERS)),
    Step("nor has its status", "as bob mvm status shop", fails(MEMBERS)),
    Step("nor deletes it", "as bob mvm delete shop", fails("services.microvm-dev.vms.shop")),
    Step(
        "what everybody may see he sees: that it is there, and runs",
        "as bob mvm list --json | " + names('*(vm["name"] for vm in vms if vm["status"] == "running")'),
        "shop\n",
    ),
    Step("and none of it changed anything", "state microvm@shop; as ada mvm port shop | grep -c 2201", "active\n0\n(exit code 1)\n"),
    Step("nothing of it is in bob's home", "find /home/bob -name 'user_key' -o -name copied"),
    # What a member may not.
    Step("a member starts no other unit", "as ada systemctl start other", fails("authentication required")),
    Step("nor stops the network", "as ada systemctl stop microvm-dev-network", fails("authentication required")),
    Step("nor starts a VM that is not declared", "as ada systemctl start microvm@other", fails("authentication required")),
    Step("which mvm does not know either", "as ada mvm start other", fails("no VM `other`")),
    Step(
        "nor changes a declared one's unit",
        "as ada systemctl set-property microvm@shop MemoryMax=infinity",
        fails("authentication required"),
    ),
    Step("nor lists keys of a VM that is not declared", "as ada mvm exec other -- true", fails("no VM `other`")),
    Step("nor enters the host's realm", "as ada mvm --realm host list", fails("needs root")),
    Step("nothing of it happened", "state other; state microvm@other; state microvm-dev-network", "inactive\ninactive\nactive\n"),
    # Ends.
    Step("what a guest writes", "touch /var/lib/microvm-dev/shop/merged/left"),
    Step("a member restarts a VM", "as ada mvm restart shop", says("shop does not keep", "shop runs")),
    Step("and enters it again", "as ada mvm exec shop -- true"),
    Step(
        "all that surrounds it started anew, and the copy of the project with it",
        "test ! -e /var/lib/microvm-dev/shop/merged/left && cat /var/lib/microvm-dev/shop/merged/file",
        "original\n",
    ),
    Step("and kills it, which it stays", "as ada mvm stop --force shop", says("shop is stopped")),
    Step("for good", "state microvm@shop", "inactive\n(exit code 3)\n"),
    Step("a stopped one is stopped", "as ada mvm stop shop", says("shop was stopped already")),
    Step("a command does not start it", "as ada mvm exec shop -- true", fails("mvm start shop")),
    Step("but a shell does", "echo pwd | as ada mvm shell shop", says("/project")),
    Step("a member stops a VM", "as ada mvm stop shop", says("shop is stopped")),
    Step("its network is gone when that returns", "ip link show mvm-shop", fails("does not exist")),
    Step("and it can start at once", "as ada mvm start shop && as ada mvm stop shop", says("shop is stopped")),
    Step("root may do all that, too", "mvm start shop && mvm exec shop -- id -un && mvm logs shop -n 1 | wc -l && mvm stop shop", says("dev\n1\n")),
    Step(
        "every call at the gate is in the log, with who it was",
        "journalctl --quiet --output=cat --unit=microvm-dev-gate | grep -c \"add shop: done.*uid=$(id -u ada)\"",
        "1\n",
    ),
    Step("no unit of ours has failed", "systemctl --failed --no-legend --plain list-units 'microvm*'"),
]

SCENARIO = Scenario(
    title="access to declared VMs",
    programs=("mvm", "mvm-gate", "mvm-unit", "mvm-ports", "mvm-spec"),
    units={
        "microvm@.service": VM,
        "microvm-tap-interfaces@.service": TAP,
        "other.service": OTHER,
    },
    files={"guest.py": HERE / "guest.py", "sshd": sshd.program},
    setup=SETUP,
    steps=STEPS,
)
