"""Measures the network of VMs against iptables, nft, socat and pasta; run by `scripts/bench network`.

Everything happens in network namespaces of its own (the caller starts this program in one): no address or rule of the
host is touched.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import bench

BEGIN, END = "<!-- bench-network:begin -->", "<!-- bench-network:end -->"
# Sizes at which the cost of one more forward is measured, and the first port of those that are there already.
SIZES = (1, 1_000, 10_000)
BASE = 20_000
# The port whose forward comes and goes.
PROBE = 40_000
VM = "bench"


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench network", description="Measures the network of VMs.")
    parser.add_argument("--runs", type=int, default=21, metavar="N", help="samples of each measure (default 21)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/performance.md")
    parser.add_argument("--kernel", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--page", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def alternating(runs, *measures):
    """Runs each measure in turns, so that all meet the same noise; a median of each."""
    samples = [[] for _ in measures]
    for _ in range(runs):
        for measure, values in zip(measures, samples):
            values.append(measure())
    return [statistics.median(values) for values in samples]


@contextlib.contextmanager
def realm(scratch, kind):
    """A realm of its own with one running VM, the only one."""
    names = {"MVM_STATE_DIR": "state", "MVM_CACHE_DIR": "cache", "MVM_RUNTIME_DIR": "run"}
    before = dict(os.environ)
    for variable, name in names.items():
        os.environ[variable] = str(scratch / kind / name)
    os.environ["MVM_REALM"] = kind
    try:
        bench.run("mvm", "create", VM, "--no-project", "--mem", "256", "--vcpu", "1", "--start")
        yield
    finally:
        subprocess.run(["mvm", "delete", "--force", VM], capture_output=True, check=False)
        os.environ.clear()
        os.environ.update(before)


class Mvm:
    """One more forward by `mvm port`. In the host realm by an address that nft serves."""

    def __init__(self, kind):
        # One descriptor each: a forward without an address takes two, and hard limits of 20,000 open files exist.
        self.address = "127.0.0.1:" if kind == "user" else "0.0.0.0:"
        self.name = f"`mvm port`, {kind} realm"
        self.count = 1

    def fill(self, count):
        """Brings the number of forwards to `count`."""
        if count > self.count:
            first, last = BASE + self.count, BASE + count - 1
            bench.run("mvm-ports", "add", VM, f"{self.address}{first}-{last}:{first}-{last}")
            self.count = count

    def change(self):
        """Milliseconds that one more takes; it is removed again."""
        took = bench.timed("mvm", "port", VM, f"{self.address}{PROBE}:80")
        bench.run("mvm", "port", VM, "--remove", f"{self.address}{PROBE}")
        return took


class Rules:
    """One more rule by a tool that keeps a list."""

    def __init__(self, name, prepare, fill, add, remove):
        self.name, self._fill, self._add, self._remove = name, fill, add, remove
        self.count = 1
        prepare()

    def fill(self, count):
        if count > self.count:
            self._fill(BASE + self.count, BASE + count)
            self.count = count

    def change(self):
        took = bench.timed(*self._add)
        bench.run(*self._remove)
        return took


def iptables(variant):
    """`iptables -A` of a DNAT rule; `variant` is `legacy` or `nft`."""
    rule = ["-p", "tcp", "-m", "tcp", "--dport", str(PROBE), "-j", "DNAT", "--to-destination", "192.0.2.10:80"]
    program = f"iptables-{variant}"

    def fill(first, end):
        lines = "".join(
            f"-A BENCH -p tcp -m tcp --dport {port} -j DNAT --to-destination 192.0.2.10:{port}\n" for port in range(first, end)
        )
        text = f"*nat\n{lines}COMMIT\n"
        subprocess.run([f"{program}-restore", "--noflush"], input=text, text=True, check=True, capture_output=True)

    def prepare():
        bench.run(program, "-t", "nat", "-N", "BENCH")

    return Rules(f"`{program} -A`", prepare, fill, [program, "-t", "nat", "-A", "BENCH", *rule], [program, "-t", "nat", "-D", "BENCH", *rule])


def nft_rules():
    """`nft add rule` of a DNAT rule. Its removal needs the handle, which is read outside the measurement."""

    def prepare():
        bench.run("nft", "add table ip bench; add chain ip bench translate { type nat hook prerouting priority dstnat; }")

    def fill(first, end):
        lines = "".join(f"add rule ip bench translate tcp dport {port} dnat to 192.0.2.10:{port}\n" for port in range(first, end))
        subprocess.run(["nft", "-f", "-"], input=lines, text=True, check=True, capture_output=True)

    class NftRules(Rules):
        def change(self):
            took = bench.timed("nft", f"add rule ip bench translate tcp dport {PROBE} dnat to 192.0.2.10:80")
            listed = bench.run("nft", "-a", "list", "chain", "ip", "bench", "translate").stdout
            line = next(line for line in listed.splitlines() if f"dport {PROBE} " in line)
            bench.run("nft", "delete", "rule", "ip", "bench", "translate", "handle", line.rsplit(" ", 1)[1])
            return took

    return NftRules("`nft add rule`", prepare, fill, None, None)


def changes(options, ours, peers):
    """Medians of one change, by method and size; all methods in turns."""
    found = {}
    for size in SIZES:
        for method in (*ours, *peers):
            method.fill(size)
        medians = alternating(options.runs, *(method.change for method in (*ours, *peers)))
        for method, median in zip((*ours, *peers), medians):
            found[method.name, size] = median
        bench.progress(f"  {size} forwards: " + ", ".join(f"{m.name} {found[m.name, size]:.1f} ms" for m in (*ours, *peers)))
    return found


def connect(port):
    """Microseconds until a connection to a forward is made."""
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        return (time.perf_counter() - start) * 1e6


def served(port):
    """A server in the guest behind the forward `port`; connections of the proxy are refused without one, which is
    no connect at all."""
    bench.run("mvm", "port", VM, f"127.0.0.1:{port}:22")


def rows_of(options, scratch):
    rows = []

    def row(name, text, goal="", value=None, unit=""):
        rows.append({"measure": name, "text": text, "goal": goal, "value": value, "unit": unit})

    peers = [iptables("legacy"), iptables("nft"), nft_rules()]
    for kind in ("user", "host"):
        bench.progress(f"one more forward, {kind} realm")
        with realm(scratch, kind):
            ours = Mvm(kind)
            # The guest's SSH server is behind the first forward and behind the last.
            served(PROBE + 1)
            found = changes(options, [ours], peers)
            served(PROBE + 2)
            for method in (ours, *peers) if kind == "host" else (ours,):
                text = ", ".join(f"{found[method.name, size]:.1f}" for size in SIZES)
                goal = "10,000th at most 1.3 of the 1st" if method is ours else ""
                growth = found[method.name, SIZES[-1]] / found[method.name, SIZES[0]]
                row(f"{method.name}: ms for the 1st, 1,000th, 10,000th", f"{text}; growth {growth:.2f}", goal, growth)
            legacy = found[ours.name, SIZES[-1]] / found[peers[0].name, SIZES[-1]]
            row(f"{ours.name} / `iptables-legacy -A` at 10,000", f"{legacy:.2f}", "at most 0.2", legacy)
            if kind == "user":
                first, last = alternating(options.runs * 5, lambda: connect(PROBE + 1), lambda: connect(PROBE + 2))
                text = f"{last / first:.2f} ({last:.0f} and {first:.0f} µs)"
                row("connecting through the last of 10,000 / through the first", text, "at most 2", last / first)
            else:
                row(*sync(options))
        for peer in peers:
            reset(peer)
    bench.progress("throughput through the rules")
    # In a namespace without the rules of the others.
    throughput = pathlib.Path(__file__).with_name("bench_throughput.py")
    command = ["unshare", "--net", sys.executable, str(throughput), "--rounds", str(options.runs)]
    found = json.loads(bench.run(*command).stdout)
    bare, ours = found["guest"]["bare"], found["guest"]["rules"]
    name = "guest to namespace, with our rules / over a bare bridge"
    row(name, f"{ours / bare:.2f} ({ours:.0f} and {bare:.0f} MB/s)", "at least 0.95", ours / bare)
    bare, ours, least = (found["kernel"][way] for way in ("bare", "rules", "masquerade"))
    text = f"{ours / bare:.2f} ({ours:.0f} and {bare:.0f} MB/s); with masquerading and no other rule {least / bare:.2f}"
    row("the same with a namespace in the guest's place, which sends as fast as the kernel can", text, "", ours / bare)
    bench.progress("throughput of the proxy")
    proxy = pathlib.Path(__file__).with_name("bench_proxy.py")
    found = json.loads(bench.run(sys.executable, str(proxy)).stdout)
    rates = ", ".join(f"{name} {statistics.median(values):.0f}" for name, values in found["megabytesPerSecond"].items())
    ratio = found["throughputAgainstBest"]
    row("throughput of the proxy on loopback / the better of socat and pasta", f"{ratio:.2f} (MB/s: {rates})", "at least 0.8", ratio)
    return rows


def reset(peer):
    """Empties a peer's list, so that the other realm is compared with the same."""
    if "iptables" in peer.name:
        bench.run(peer.name.strip("`").split()[0], "-t", "nat", "-F", "BENCH")
    else:
        bench.run("nft", "flush", "chain", "ip", "bench", "translate")
    peer.count = 1


def sync(options):
    """`mvm-ports sync` of 10,000 forwards whose nft elements are gone."""
    times = []
    for _ in range(max(3, options.runs // 5)):
        maps = [entry["map"]["name"] for entry in json.loads(bench.run("nft", "-j", "list", "maps", "inet").stdout)["nftables"] if "map" in entry and entry["map"]["table"] == "microvm-dev" and "forward" in entry["map"]["name"]]
        for name in maps:
            bench.run("nft", "flush", "map", "inet", "microvm-dev", name)
        times.append(bench.timed("mvm-ports", "sync"))
    median = statistics.median(times)
    return "`mvm-ports sync` of 10,000 forwards after a flush", f"{median:.0f} ms", "below 500 ms", median, "ms"


def markdown(result, options):
    lines = [
        f"Measured {result['date']} on {result['machine']}.",
        "",
        "| measure | result | goal |",
        "|---|---|---|",
        *(f"| {row['measure']} | {row['text']} | {row['goal']} |" for row in result["rows"]),
        "",
        f"Repeat it: `scripts/bench network --runs {options.runs} --write`",
    ]
    return "\n".join(lines)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    nft = bench.run("nft", "--version").stdout.strip()
    legacy = bench.run("iptables-legacy", "--version").stdout.strip()
    return f"{model}, {os.cpu_count()} CPUs; kernel {platform.release()}; {nft}; {legacy}"


def main():
    options = arguments()
    if options.runs < 3:
        sys.exit("bench: --runs must be at least 3")
    if options.kernel is None:
        sys.exit("bench: run `scripts/bench network`, which prepares the tools")
    os.environ["MVM_KERNEL"] = str(options.kernel)
    bench.run("ip", "link", "set", "lo", "up")
    with tempfile.TemporaryDirectory(prefix="mvm-bench-") as scratch:
        rows = rows_of(options, pathlib.Path(scratch))
    result = {"machine": machine(), "date": datetime.date.today().isoformat(), "rows": rows}
    text = markdown(result, options)
    print(json.dumps(result, indent=2) if options.json else text)
    if options.write:
        bench.write(options.page, text, BEGIN, END)


if __name__ == "__main__":
    main()
