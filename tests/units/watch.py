"""The watcher of a declared VM's project: it marks the VM when the project says something else than at the VM's start, for
everybody to see, and executes nothing of the project."""

from container import Scenario, Step, says

SETUP = """
useradd --create-home ada
mkdir -p /home/ada/shop
echo '{ services.redis.enable = true; }' >/home/ada/shop/devenv.nix
echo 'touch /tmp/executed' >/home/ada/shop/.envrc
chmod 700 /home/ada
chown -R ada: /home/ada
systemd-tmpfiles --create /etc/tmpfiles.d/microvm-dev.conf
said() { journalctl --quiet --output=cat --unit=microvm-dev-watch@shop | grep -c "$1"; }
marked() { as ada mvm list --json | python3 -c 'import json, sys
print(*(vm["name"] for vm in json.load(sys.stdin) if vm.get("outdated")))'; }
"""

WATCHES = "journalctl --quiet --output=cat --unit=microvm-dev-watch@shop | grep -c \"watching\" | grep -qx"
MARK = "/run/microvm-dev/outdated/shop"

SCENARIO = Scenario(
    title="the watcher's unit",
    programs=("mvm", "mvm-unit", "mvm-spec"),
    setup=SETUP,
    steps=[
        Step("a VM's directory is prepared", "systemctl start microvm-dev-prepare@shop"),
        Step("its watcher starts, with its hardening", "systemctl start microvm-dev-watch@shop"),
        Step("and watches the project, which is in a closed home", f"wait_for '{WATCHES} 1'"),
        Step("nothing is marked", "marked", "\n"),
        Step(
            "a change of what the project needs",
            "echo '{ services.postgres.enable = true; }' >/home/ada/shop/devenv.nix",
        ),
        Step("is seen", f"wait_for 'test -e {MARK}'"),
        Step("and shown to everybody", "marked", "shop\n"),
        Step("in words, too", "as ada mvm list", says("outdated")),
        Step("it is in the journal", "said outdated", "1\n"),
        Step("the watcher is started again when it is killed", f"systemctl kill -s KILL microvm-dev-watch@shop; wait_for '{WATCHES} 2'"),
        Step("and the mark stays", "marked", "shop\n"),
        Step("a VM that starts anew has what the project says", "systemctl restart microvm-dev-prepare@shop; marked", "\n"),
        Step("the watcher begins with it", f"systemctl restart microvm-dev-watch@shop; wait_for '{WATCHES} 3'"),
        Step("a change", "echo '{ }' >/home/ada/shop/devenv.nix"),
        Step("is seen again", f"wait_for 'test -e {MARK}'"),
        Step("one that is taken back", "echo '{ services.postgres.enable = true; }' >/home/ada/shop/devenv.nix"),
        Step("is no difference", f"wait_for '! test -e {MARK}'"),
        Step("nothing of the project was executed", "test ! -e /tmp/executed"),
        Step("the watcher stops when it is told to", "systemctl stop microvm-dev-watch@shop"),
        Step("no unit of ours has failed", "systemctl --failed --no-legend --plain list-units 'microvm*'"),
    ],
)
