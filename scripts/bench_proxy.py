#!/usr/bin/env python3
"""Measures the proxy of port forwards alone, between two network namespaces of this machine, and prints JSON.

Bytes per second through one connection, against `socat` and `pasta`, and the time to connect through the first and the
last of many forwards. Everything happens in namespaces that it makes (as an ordinary user too) and that end with it.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

INSIDE = "MVM_BENCH_PROXY_INSIDE"
GUEST_PORT = 9000
FIRST_PORT = 10000
CHUNK = 1 << 17


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench_proxy.py", description=__doc__)
    parser.add_argument("--mvm", default="mvm", help="the program to measure (default: mvm from PATH)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each transfer (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="transfers through each (default 5)")
    parser.add_argument("--forwards", type=int, default=5000, help="forwards for the latency (default 5000)")
    parser.add_argument("--connects", type=int, default=300, help="connections for each latency (default 300)")
    return parser.parse_args()


def enter_namespaces():
    """Runs this script again in a user, mount, process and network namespace; its first process ends the others."""
    command = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.execvpe(command[0], [*command, sys.executable, __file__, *sys.argv[1:]], {**os.environ, INSIDE: "1"})


# The guest: a process in a namespace of its own. A connection says in its first byte what it wants.

def guest():
    """Serves `s` (sink: take all, answer with the count) and `c` (close)."""
    listener = socket.create_server(("0.0.0.0", GUEST_PORT), backlog=1024)
    print("ready", flush=True)
    buffer = bytearray(CHUNK)
    while True:
        connection, _ = listener.accept()
        with connection:
            total = 0
            if connection.recv(1) == b"s":
                while read := connection.recv_into(buffer):
                    total += read
                connection.sendall(struct.pack("!Q", total))


def transfer(address, seconds):
    """Bytes per second through one connection, counted at the other end."""
    data = bytes(CHUNK)
    with socket.create_connection(address) as connection:
        start = time.perf_counter()
        connection.sendall(b"s")
        while time.perf_counter() - start < seconds:
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(8, socket.MSG_WAITALL)
        if len(answer) != 8:
            sys.exit(f"bench: the connection to port {address[1]} ended before the count arrived")
        (total,) = struct.unpack("!Q", answer)
        return total / (time.perf_counter() - start)


def connect_time(address):
    """Seconds until the guest has answered by closing: the proxy accepts before it connects onwards."""
    start = time.perf_counter()
    with socket.create_connection(address) as connection:
        connection.sendall(b"c")
        connection.recv(1)
        return time.perf_counter() - start


# The control socket: frames of a big-endian length and JSON.

def request(path, message):
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(path))
        text = json.dumps(message).encode()
        control.sendall(struct.pack("!I", len(text)) + text)
        (length,) = struct.unpack("!I", control.recv(4, socket.MSG_WAITALL))
        return json.loads(control.recv(length, socket.MSG_WAITALL))


@contextlib.contextmanager
def running(*command, ready=None, **options):
    """A process that is killed at the end; with `ready`, when it has printed a line that ends so."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options)
    try:
        if ready:
            for line in process.stdout:
                if line.strip().endswith(ready):
                    break
            else:
                sys.exit(f"bench: `{command[0]}` ended with {process.wait()}")
        yield process
    finally:
        process.kill()
        process.wait()


def until_listening(port, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                sys.exit(f"bench: nobody listens on port {port}")
            time.sleep(0.02)


def measure(options, scratch):
    def run(*command):
        subprocess.run(command, check=True)

    run("ip", "link", "set", "lo", "up")
    namespace = scratch / "netns"
    namespace.touch()
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(running("unshare", "--net", sys.executable, __file__, "guest", ready="ready"))
        run("mount", "--bind", f"/proc/{there.pid}/ns/net", str(namespace))
        stack.callback(run, "umount", "--lazy", str(namespace))
        enter = ["nsenter", f"--net={namespace}"]
        # pasta serves the namespace's loopback by splice(2), its fast path; the others get the same.
        run(*enter, "ip", "link", "set", "lo", "up")
        config = {"socket": str(scratch / "proxy.sock"), "guestNamespace": str(namespace)}
        stack.enter_context(running(options.mvm, "internal", "proxy", json.dumps(config), ready="ready"))
        forwards = [{"host": FIRST_PORT + i, "guest": GUEST_PORT} for i in range(options.forwards)]

        def serve(count):
            message = {"set": {"vm": "bench", "address": "127.0.0.1", "forwards": forwards[:count]}}
            reply = request(config["socket"], message)
            if reply != {"set": {"blocked": []}}:
                sys.exit(f"bench: the proxy said {str(reply)[:500]}")

        serve(1)
        ports = {"mvm": FIRST_PORT}
        if shutil.which("pasta"):
            pasta = ["pasta", "--foreground", "--quiet", "--runas", "0:0", "--ipv4-only", "--config-net"]
            pasta += ["--no-netns-quit", "--interface", "lo", "--address", "192.0.0.2", "--netmask", "29"]
            pasta += ["--gateway", "192.0.0.1", "--no-map-gw", "-u", "none", "-T", "none", "-U", "none"]
            pasta += ["--mac-addr", "02:00:00:00:00:01", "--ns-ifname", "uplink", "--mtu", "65520"]
            pasta += ["-t", f"127.0.0.1/{GUEST_PORT + 1}:{GUEST_PORT}", "--netns-only", "--netns", str(namespace)]
            stack.enter_context(running(*pasta))
            ports["pasta"] = GUEST_PORT + 1
        if shutil.which("socat"):
            # Its two ends are in one namespace; the guest's server is there too.
            stack.enter_context(running(sys.executable, __file__, "guest", ready="ready"))
            listen = f"TCP-LISTEN:{GUEST_PORT + 2},bind=127.0.0.1,reuseaddr,fork"
            # -t: how long it waits for the other direction once one has ended.
            stack.enter_context(running("socat", "-t", "30", listen, f"TCP:127.0.0.1:{GUEST_PORT}"))
            ports["socat"] = GUEST_PORT + 2
        for port in ports.values():
            until_listening(port)
        rates = {name: [] for name in ports}
        # In turns, so that what else the machine does meets all alike.
        for _ in range(options.rounds):
            for name, port in ports.items():
                rates[name].append(transfer(("127.0.0.1", port), options.seconds))
        few = [connect_time(("127.0.0.1", FIRST_PORT)) for _ in range(options.connects)]
        start = time.perf_counter()
        serve(options.forwards)
        set_time = time.perf_counter() - start
        first, last = [], []
        for _ in range(options.connects):
            first.append(connect_time(("127.0.0.1", FIRST_PORT)))
            last.append(connect_time(("127.0.0.1", FIRST_PORT + options.forwards - 1)))
    median = statistics.median
    best = max((median(values) for name, values in rates.items() if name != "mvm"), default=None)
    return {
        "megabytesPerSecond": {name: [round(rate / 1e6) for rate in sorted(values)] for name, values in rates.items()},
        "throughputAgainstBest": best and round(median(rates["mvm"]) / best, 2),
        "forwards": options.forwards,
        "setMilliseconds": round(set_time * 1e3, 1),
        "connectMicroseconds": {
            "onlyForward": round(median(few) * 1e6),
            "first": round(median(first) * 1e6),
            "last": round(median(last) * 1e6),
        },
        "lastAgainstFirst": round(median(last) / median(first), 2),
    }


def main():
    if sys.argv[1:] == ["guest"]:
        return guest()
    options = arguments()
    if INSIDE not in os.environ:
        enter_namespaces()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(options, pathlib.Path(scratch)), indent=2))


if __name__ == "__main__":
    main()
