#!/usr/bin/env python3
"""Tries the hypervisor's rules with packets: tests/eval/golden/hypervisor/isolation.nft, which tests/eval compares with hosts/.

Everything is in namespaces of its own: this one is the hypervisor; two VMs, the network outside and the tailnet are
others. Needs ip, nft, unshare, and root or user namespaces.
"""

import os
import pathlib
import subprocess
import sys
import unittest

RULES = pathlib.Path(__file__).resolve().parent.parent / "eval/golden/hypervisor/isolation.nft"
INSIDE = "--in-namespaces"
# A packet that is dropped is never answered: this long is waited for the answer. An answer comes within microseconds.
PATIENCE = "2"

# Namespace: its address, the hypervisor's interface towards it (for VMs a bridge) and address there.
PLACES = {
    "vm1": ("10.1.0.2", "br-vm1", "10.1.0.1"),
    "vm2": ("10.2.0.2", "br-vm2", "10.2.0.1"),
    "outside": ("192.0.2.2", "eno1", "192.0.2.1"),
    "tailnet": ("100.64.0.2", "tailscale0", "100.64.0.1"),
}
METADATA = "169.254.169.254"
PORT = 22

SERVE = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
import threading
def tell():
    while True:
        print(datagrams.recvfrom(64)[1][0], flush=True)
threading.Thread(target=tell, daemon=True).start()
while True:
    server.accept()[0].close()
"""
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))"
SEND = """
import socket, sys
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind((sys.argv[1], 0))
sender.sendto(b"x", (sys.argv[2], int(sys.argv[3])))
"""


def run(*command):
    subprocess.run(command, check=True)


def within(place, *command):
    """The command that runs `command` in `place`; "here" is the hypervisor."""
    return list(command) if place == "here" else ["ip", "netns", "exec", place, *command]


def lay_out():
    """Makes the namespaces, their links and the rules."""
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("ip", "link", "set", "lo", "up")
    for name, (address, near, gateway) in PLACES.items():
        run("ip", "netns", "add", name)
        port = f"to-{name}" if near.startswith("br-") else near
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        if port != near:
            run("ip", "link", "add", near, "type", "bridge")
            run("ip", "link", "set", port, "master", near)
            run("ip", "link", "set", near, "up")
        run("ip", "address", "add", f"{gateway}/24", "dev", near)
        run("ip", "link", "set", port, "up")
        for setup in (f"address add {address}/24 dev eth0", "link set eth0 up", "link set lo up", f"route add default via {gateway}"):
            run(*within(name, "ip", *setup.split()))
    run(*within("outside", "ip", "address", "add", f"{METADATA}/32", "dev", "lo"))
    run("ip", "route", "add", f"{METADATA}/32", "via", PLACES["outside"][0])
    # A second address, of another VM: to send with.
    run(*within("vm1", "ip", "address", "add", "10.2.0.2/32", "dev", "lo"))
    for setting in ("net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"):
        name, value = setting.split("=")
        pathlib.Path("/proc/sys", name.replace(".", "/")).write_text(value)
    run("nft", "-f", str(RULES))


class Isolation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        lay_out()
        cls.servers = {}
        for place in ("here", *PLACES):
            command = within(place, sys.executable, "-c", SERVE, str(PORT))
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            cls.addClassCleanup(cls.end, server)
            assert server.stdout.readline() == "ready\n", f"the server in {place} did not start"
            cls.servers[place] = server

    @staticmethod
    def end(server):
        server.kill()
        server.wait()
        server.stdout.close()

    def reaches(self, place, address):
        command = within(place, sys.executable, "-c", CONNECT, address, str(PORT), PATIENCE)
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0

    def test_a_vm_reaches_what_is_outside(self):
        self.assertTrue(self.reaches("vm1", PLACES["outside"][0]))

    def test_a_vm_does_not_reach_another_vm(self):
        self.assertTrue(self.reaches("here", PLACES["vm2"][0]), "it is the service that is missing")
        run(*within("vm1", "ip", "address", "del", "10.2.0.2/32", "dev", "lo"))
        try:
            self.assertFalse(self.reaches("vm1", PLACES["vm2"][0]))
        finally:
            run(*within("vm1", "ip", "address", "add", "10.2.0.2/32", "dev", "lo"))

    def test_a_vm_reaches_no_service_of_the_hypervisor_by_any_of_its_addresses(self):
        self.assertTrue(self.reaches("outside", PLACES["outside"][2]), "it is the service that is missing")
        for _, _, gateway in PLACES.values():
            self.assertFalse(self.reaches("vm1", gateway), gateway)

    def test_a_vm_does_not_reach_the_metadata_service_nor_the_tailnet(self):
        for address in (METADATA, PLACES["tailnet"][0]):
            self.assertTrue(self.reaches("here", address), "it is the service that is missing")
            self.assertFalse(self.reaches("vm1", address), address)

    def test_a_vm_is_reached_from_the_hypervisor_and_the_tailnet_and_not_from_outside(self):
        address = PLACES["vm1"][0]
        self.assertEqual(
            {place: self.reaches(place, address) for place in ("here", "tailnet", "outside")},
            {"here": True, "tailnet": True, "outside": False},
        )

    def test_a_packet_with_another_vms_address_goes_nowhere(self):
        outside = PLACES["outside"][0]
        for source in ("10.2.0.2", PLACES["vm1"][0]):
            run(*within("vm1", sys.executable, "-c", SEND, source, outside, str(PORT)))
        # They were sent in this order: had the first come through, it would be told first.
        self.assertEqual(self.servers["outside"].stdout.readline().strip(), PLACES["vm1"][0])


if __name__ == "__main__":
    if INSIDE in sys.argv:
        sys.argv.remove(INSIDE)
        unittest.main()
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execvp("unshare", [*command, sys.executable, __file__, INSIDE, *sys.argv[1:]])
