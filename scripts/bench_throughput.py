"""Measures what the network's rules cost in throughput, and prints JSON: MB/s by way, medians.

Run by `scripts/bench network` in a network namespace of its own, with MVM_KERNEL set. `guest` is what a real guest sends
to another namespace, with our rules and without any. `kernel` is what a namespace in the guest's place sends: as fast as
the kernel can, so that the rules' cost shows, which is lost in an emulated guest's.
"""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import bench

VM = "bench"
TABLES = (("inet", "microvm-dev"), ("netdev", "microvm-dev"))
GATEWAY, OUTSIDE = "203.0.113.1", "203.0.113.2"
# Seconds of one transfer by a guest, and by a namespace: short, so that the machine's moods meet all ways alike.
GUEST_TRANSFER, TRANSFER = 1.0, 0.25
# Transfers of a namespace for each of a guest.
KERNEL_ROUNDS = 4

# Listens for one connection, so that the sender's next one is not taken for it.
RECEIVER = """
import socket, time
server = socket.create_server(("0.0.0.0", 9))
server.settimeout(60)
print("ready", flush=True)
stream, (peer, _) = server.accept()
server.close()
total, start, buffer = 0, time.monotonic(), bytearray(1 << 20)
while count := stream.recv_into(buffer):
    total += count
print(peer, total / (time.monotonic() - start) / 1e6, flush=True)
"""
# To an address for some seconds, as often as asked: each time that somebody listens there.
SENDER = """
import socket, sys, time
address, seconds, count = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
data = memoryview(bytes(1 << 20))
deadline = time.monotonic() + 600
print("ready", flush=True)
while count and time.monotonic() < deadline:
    try:
        stream = socket.create_connection((address, 9))
    except OSError:  # Nobody listens, or nobody is there yet.
        time.sleep(0.02)
        continue
    with stream:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stream.sendall(data)
    count -= 1
"""
BRIDGE = """
    ip link set lo up
    ip link add virbr-mvm type bridge; ip address add 192.168.100.1/24 dev virbr-mvm; ip link set virbr-mvm up
    echo 1 >/proc/sys/net/ipv4/ip_forward
"""
WAN = """
    ip link add wan type veth peer name eth0 netns {outside}
    ip address add 203.0.113.1/24 dev wan; ip link set wan up
    nsenter --net --target={outside} -- sh -ec 'ip link set eth0 up; ip address add 203.0.113.2/24 dev eth0
        ip route add default via 203.0.113.1'
"""
# A port of the bridge with the name, address and rules of the running VM, but with a namespace behind it.
PLACE = """
    ip link add {tap} type veth peer name eth0 netns {guest}
    ip link set {tap} master virbr-mvm up
    nsenter --net --target={guest} -- sh -ec 'ip link set eth0 address {mac}; ip link set eth0 up
        ip address add {address} dev eth0; ip route add default via 192.168.100.1'
"""
# What no rules can be without: connections are tracked and masqueraded, nothing is asked.
MASQUERADE = """
add table ip bare
add chain ip bare forward { type filter hook forward priority filter; }
add chain ip bare translate { type nat hook postrouting priority srcnat; }
add rule ip bare forward ct state established accept
add rule ip bare translate oifname wan masquerade
"""


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench_throughput.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="transfers of the guest, each way (default 9)")
    return parser.parse_args()


def netns(pid, *command):
    return ["nsenter", "--net", f"--target={pid}", "--", *command]


@contextlib.contextmanager
def namespace():
    """A network namespace; the id of a process in it."""
    with subprocess.Popen(["unshare", "--net", "sleep", "3600"]) as process:
        try:
            own = os.readlink("/proc/self/ns/net")
            deadline = time.monotonic() + 10
            while os.readlink(f"/proc/{process.pid}/ns/net") == own:
                if time.monotonic() > deadline:
                    sys.exit("bench: no network namespace could be made")
                time.sleep(0.005)
            yield process.pid
        finally:
            process.kill()


def load(ruleset, at=None):
    command = ["nft", "-f", "-"]
    subprocess.run(netns(at, *command) if at else command, input=ruleset, text=True, check=True)


@contextlib.contextmanager
def receiver(at, sender, processor=None):
    """Listens in a namespace; a function that waits for the end of one transfer and gives its MB/s. It must come from
    `sender`: the gateway's outer address shows that rules masqueraded it, the guest's own that there were none."""
    pin = ["taskset", "--cpu-list", processor] if processor else []
    with subprocess.Popen(netns(at, *pin, sys.executable, "-c", RECEIVER), stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline().strip() != "ready":
            sys.exit("bench: the receiver did not start")

        def rate():
            line = process.stdout.readline()
            if not line:
                sys.exit("bench: the transfer broke off")
            peer, megabytes = line.split()
            if peer != sender:
                sys.exit(f"bench: the transfer came from {peer} instead of {sender}: the rules are not what was to be measured")
            return float(megabytes)

        try:
            yield rate
        finally:
            process.kill()


def by_guest(rounds, rules, address):
    """Medians of what the guest sends with our rules and without, in turns."""
    rates = {"rules": [], "bare": []}
    pid = json.loads(bench.run("mvm", "status", VM, "--json").stdout)["vmmPid"]
    keepers = bench.ancestors(pid)
    with namespace() as outside, contextlib.ExitStack() as stack:
        bench.run("sh", "-ec", WAN.format(outside=outside))
        stack.callback(bench.run, "ip", "link", "delete", "wan")
        # It would repair the rules.
        for keeper in keepers:
            os.kill(keeper, signal.SIGSTOP)
            stack.callback(os.kill, keeper, signal.SIGCONT)
        stack.callback(load, rules)
        for _ in range(rounds):
            for way, samples in rates.items():
                remove_rules()
                if way == "rules":
                    load(rules)
                with receiver(outside, GATEWAY if way == "rules" else address) as rate:
                    samples.append(rate())
    return {way: statistics.median(samples) for way, samples in rates.items()}


def remove_rules():
    load("".join(f"table {family} {name}\ndelete table {family} {name}\n" for family, name in TABLES))


def by_kernel(rounds, rules, place):
    """Medians of what a namespace in the guest's place sends: each way is a namespace of its own."""
    address = place["address"].split("/")[0]
    processors = sorted(os.sched_getaffinity(0))
    first, last = str(processors[0]), str(processors[-1])
    ways = {"rules": rules, "bare": "", "masquerade": MASQUERADE}
    rates = {way: [] for way in ways}
    with contextlib.ExitStack() as stack:
        ends = {}
        for way, ruleset in ways.items():
            host, guest, outside = (stack.enter_context(namespace()) for _ in range(3))
            script = (BRIDGE + WAN + PLACE).format(guest=guest, outside=outside, **place)
            bench.run(*netns(host, "sh", "-ec", script))
            load(ruleset, host)
            ends[way] = guest, outside
        for _ in range(rounds):
            for way, (guest, outside) in ends.items():
                with receiver(outside, address if way == "bare" else GATEWAY, last) as rate:
                    send = ["taskset", "--cpu-list", first, sys.executable, "-c", SENDER, OUTSIDE, str(TRANSFER), "1"]
                    bench.run(*netns(guest, *send))
                    rates[way].append(rate())
    return {way: statistics.median(samples) for way, samples in rates.items()}


def measure(options, scratch):
    for variable, name in {"MVM_STATE_DIR": "state", "MVM_CACHE_DIR": "cache", "MVM_RUNTIME_DIR": "run"}.items():
        os.environ[variable] = str(scratch / name)
    os.environ["MVM_REALM"] = "host"
    bench.run("ip", "link", "set", "lo", "up")
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["mvm", "delete", "--force", VM], capture_output=True, check=False)
        bench.run("mvm", "create", VM, "--no-project", "--mem", "256", "--vcpu", "1", "--start")
        spec = json.loads(bench.run("mvm", "status", VM, "--json").stdout)["spec"]["network"]
        rules = "".join(bench.run("nft", "list", "table", family, name).stdout for family, name in TABLES)
        send = ["python3", "-c", SENDER, OUTSIDE, str(GUEST_TRANSFER), str(2 * options.rounds)]
        with subprocess.Popen(["mvm", "exec", VM, "--", *send], stdout=subprocess.PIPE, text=True) as sender:
            stack.callback(sender.kill)
            # The keeper makes the connection; it is stopped while we measure.
            if sender.stdout.readline().strip() != "ready":
                sys.exit("bench: the guest's sender did not start")
            guest = by_guest(options.rounds, rules, spec["address"].split("/")[0])
            if sender.wait(timeout=30) != 0:
                sys.exit("bench: the guest's sender failed")
        place = {"tap": f"mvm-{VM}", "mac": spec["mac"], "address": spec["address"]}
        return {"guest": guest, "kernel": by_kernel(KERNEL_ROUNDS * options.rounds, rules, place)}


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="mvm-bench-") as scratch:
        print(json.dumps(measure(options, pathlib.Path(scratch)), indent=2))


if __name__ == "__main__":
    main()
