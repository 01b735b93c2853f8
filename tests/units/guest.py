#!/usr/bin/env python3
"""Stands for the guest of a declared VM in the container: its network card is a network namespace with the VM's MAC and IP
address at the end of a cable that takes the tap's place, and its SSH server is OpenSSH's, with the VM's keys.

guest.py plug NAME      the cable, and the namespace
guest.py unplug NAME
guest.py run NAME       the server, in the foreground; its messages are the VM's console"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

CONFIG = """
ListenAddress {address}
HostKey {dir}/ssh_host_ed25519_key
AuthorizedKeysFile {dir}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PidFile none
UsePAM no
Subsystem sftp internal-sftp
"""


def main(verb, name):
    spec = json.loads(pathlib.Path(f"/etc/microvm-dev/vms/{name}.json").read_text())
    network = spec["network"]
    {"plug": plug, "unplug": unplug, "run": run}[verb](name, network)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def plug(name, network):
    ip("netns", "add", name)
    ip("link", "add", f"mvm-{name}", "type", "veth", "peer", "name", "eth0", "address", network["mac"], "netns", name)
    ip("link", "set", f"mvm-{name}", "up")
    for words in (
        ("addr", "add", network["address"], "dev", "eth0"),
        ("link", "set", "eth0", "up"),
        ("link", "set", "lo", "up"),
        ("route", "add", "default", "via", network["gateway"]),
    ):
        ip("-netns", name, *words)


def unplug(name, _network):
    ip("netns", "delete", name)


def run(name, network):
    place = pathlib.Path("/run/guests") / name
    place.mkdir(parents=True, exist_ok=True)
    identity = pathlib.Path("/var/lib/microvm-dev") / name / "identity"
    shutil.copy2(identity / "ssh_host_ed25519_key", place)
    # sshd reads it as whoever logs in.
    shutil.copy(identity / "authorized_keys", place)
    (place / "authorized_keys").chmod(0o644)
    config = place / "sshd_config"
    config.write_text(CONFIG.format(address=network["address"].split("/")[0], dir=place))
    print(f"{name}: the console of a guest", flush=True)
    sshd = "/mnt/test/sshd"
    os.execvp("nsenter", ["nsenter", f"--net=/run/netns/{name}", sshd, "-D", "-e", "-f", str(config)])


if __name__ == "__main__":
    main(*sys.argv[1:])
