"""Measures `mvm` and prints what it found as a Markdown table; run by scripts/bench, which prepares the tools."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures mvm against virtme-ng.")
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="runs of each whole boot (default 7)")
    parser.add_argument("--execs", type=int, default=30, metavar="N", help="runs of each short command (default 30)")
    parser.add_argument("--soak", type=int, metavar="N", help="instead: start N VMs from a template while all processors are busy; count what fails")
    parser.add_argument("--no-peer", action="store_true", help="leave virtme-ng out")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/performance.md")
    parser.add_argument("--kernel", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--page", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def progress(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, codes=(0,), **options):
    """Runs a command to its end; a failure ends the benchmark with its output, since its time would mean nothing."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if result.returncode not in codes:
        sys.exit(f"bench: `{' '.join(command)}` exited with {result.returncode}\n{result.stdout}{result.stderr}")
    return result


def timed(*command, **options):
    """Milliseconds that a command takes from start to end."""
    start = time.perf_counter()
    run(*command, **options)
    return (time.perf_counter() - start) * 1000


class Samples:
    """Times of one measure, in milliseconds."""

    def __init__(self, values):
        self.values = sorted(values)

    @property
    def median(self):
        return statistics.median(self.values)

    def __str__(self):
        unit, scale, digits = ("s", 1000, 2) if self.median >= 1000 else ("ms", 1, 0 if self.median >= 10 else 1)
        low, middle, high = (value / scale for value in (self.values[0], self.median, self.values[-1]))
        return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}, {len(self.values)} runs)"


@contextlib.contextmanager
def vms(scratch, name):
    """A state directory of its own; every VM in it is deleted at the end, whatever happens."""
    state = scratch / name
    os.environ["MVM_STATE_DIR"] = str(state)
    try:
        yield state
    finally:
        names = subprocess.run(["mvm", "list", "-q"], capture_output=True, text=True, check=False).stdout.split()
        for start in range(0, len(names), 200):
            batch = names[start : start + 200]
            subprocess.run(["mvm", "delete", "--force", "--yes", *batch], capture_output=True, check=False)


def peer_codes(command, project):
    """The exit codes by which virtme-ng says that `true` ran.

    It finds the ports for output and exit code by udev's links. On a host without udev (a container) it runs the
    command on the console instead and always exits with 255; its guest's log then shows how the command ended. That
    way is the quicker one, since the guest waits for no udev: the comparison is not in our favour by it.
    """
    if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=project).returncode == 0:
        return (0,)
    verbose = [command[0], "-v", *command[1:]]
    result = subprocess.run(verbose, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, cwd=project)
    if "script exited with code 0" not in result.stdout + result.stderr:
        sys.exit(f"bench: `{' '.join(verbose)}` did not run its command\n{result.stdout}{result.stderr}")
    progress("  virtme-ng finds no udev here: it runs the command on the console and loses its exit code")
    return (result.returncode,)


# Seconds after which a start of virtme-ng's, which takes some five, is one that hangs.
PEER_LIMIT = 60
PEER_TRIES = 3


def peer_timed(command, codes, project):
    """Milliseconds that a start of virtme-ng's takes. One in some hundred hangs at its boot under emulation: it is ended, not
    counted, and made again."""
    for _ in range(PEER_TRIES):
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=project, start_new_session=True
        )
        try:
            output, _ = process.communicate(timeout=PEER_LIMIT)
        except subprocess.TimeoutExpired:
            # Its file server and VMM are in its process group.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            progress(f"  virtme-ng did not end within {PEER_LIMIT} s; once more")
            continue
        took = (time.perf_counter() - start) * 1000
        if process.returncode not in codes:
            sys.exit(f"bench: `{' '.join(command)}` exited with {process.returncode}\n{output.decode(errors='replace')}")
        return took
    sys.exit(f"bench: `{' '.join(command)}` hung {PEER_TRIES} times; --no-peer measures without it")


def whole_runs(options, project):
    """`mvm run -- true`, warm and cold, and the same in virtme-ng, in turns, so that all meet the same noise."""
    mvm, cold, peer = [], [], []
    peer_command = ["vng", "-r", str(options.kernel), "--disable-kvm", "--", "true"]
    # Both fill their caches outside the measurement.
    timed("mvm", "run", "--", "true", cwd=project)
    if not options.no_peer:
        codes = peer_codes(peer_command, project)
    for turn in range(options.runs):
        mvm.append(timed("mvm", "run", "--", "true", cwd=project))
        cold.append(timed("mvm", "run", "--cold", "--", "true", cwd=project))
        if not options.no_peer:
            peer.append(peer_timed(peer_command, codes, project))
        progress(f"  run {turn + 1} of {options.runs}: warm {mvm[-1]:.0f} ms, cold {cold[-1]:.0f} ms" + (f", virtme-ng {peer[-1]:.0f} ms" if peer else ""))
    steps = run("mvm", "-v", "run", "--", "true", cwd=project).stderr.strip()
    return Samples(mvm), Samples(cold), Samples(peer) if peer else None, steps


def first_uses(options, project):
    """`mvm run -- true` without a template, which it makes first, and the cold start that it would be otherwise."""
    first, cold = [], []
    for _ in range(max(3, options.runs // 3)):
        run("mvm", "cache", "prune", "--all")
        first.append(timed("mvm", "run", "--", "true", cwd=project))
        cold.append(timed("mvm", "run", "--cold", "--", "true", cwd=project))
    return Samples(first), Samples(cold)


COPIES = 10


def processor_time():
    """Milliseconds that the processors have worked, all together; and, within virtual machines, those that others have taken
    from them (proc(5), /proc/stat)."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.readline().split()[1:9])
    tick = 1000 / os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) * tick, steal * tick


def copies_together(options, scratch, project):
    """Wall time of one start in a running realm, and of ten of the same template together; and the processor time that each
    of the ten took."""
    one, ten, spent, taken = [], [], [], []
    with vms(scratch, "together"):
        run("mvm", "create", "base", "--project", str(project), "--start")
        run("mvm", "create", "copy", "--project", str(project), "--copies", str(COPIES))
        names = [f"copy-{number + 1}" for number in range(COPIES)]
        for _ in range(max(3, options.runs // 3)):
            one.append(timed("mvm", "start", names[0]))
            run("mvm", "stop", "--force", "--yes", names[0])
            before = processor_time()
            ten.append(timed("mvm", "start", *names))
            after = processor_time()
            spent.append((after[0] - before[0]) / COPIES)
            taken.append((after[1] - before[1]) / COPIES)
            run("mvm", "stop", "--force", "--yes", *names)
    return Samples(one), Samples(ten), Samples(spent), Samples(taken)


def soak(options, scratch):
    """Starts VMs one after the other while every processor has a program that computes without end."""
    project = scratch / "project"
    project.mkdir()
    busy = [subprocess.Popen((sys.executable, "-c", "while True: pass")) for _ in range(2 * (os.cpu_count() or 1))]
    failed, booted = [], 0
    try:
        with vms(scratch, "soak"):
            for turn in range(options.soak):
                result = subprocess.run(("mvm", "-v", "run", "--", "true"), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=project)
                if result.returncode:
                    failed.append(result.stderr)
                booted += "was booted" in result.stderr
                if (turn + 1) % 10 == 0:
                    progress(f"  {turn + 1} of {options.soak}: {len(failed)} failed, {booted} not from a template")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    for text in failed:
        progress(text)
    print(f"{options.soak} starts, {len(failed)} failed, {booted} not from a template")
    return 1 if failed or booted else 0


# What developers' programs do all day: many small programs, and a large one. Each prints how many nanoseconds it took.
TIMED = "set -e; start=$(date +%s%N); {}; echo took $(($(date +%s%N) - start))\n"
SMALL = "for i in 1 2 3 4 5 6 7 8 9 10; do ls /usr/bin | grep a | sort | head -n 1; done >/dev/null"
COMPILER = "cc -O2 -c -o /tmp/work.o work.c"
FUNCTION = """
int f{n}(int *a, int n) {{
    int s = {n};
    for (int j = 0; j < n; j++) {{
        s += a[j] * {n};
        if (s % 7 == {n} % 7) s ^= a[(j * {n}) % n];
        switch (s & 7) {{ case 0: s++; break; case 3: s -= a[0]; break; case 5: s *= 3; break; }}
    }}
    char b[64];
    snprintf(b, sizeof b, "%d", s);
    return s + strlen(b);
}}
"""


def work(options, project):
    """Milliseconds that work takes inside a guest of mvm's and of virtme-ng's, in turns, by its name."""
    functions = "".join(FUNCTION.format(n=n) for n in range(1, 51))
    (project / "work.c").write_text(f"#include <stdio.h>\n#include <string.h>\n{functions}")
    ways = {"mvm": ["mvm", "run", "--", "sh", "work.sh"]}
    if not options.no_peer:
        # What its guest prints is lost on a host without udev, but not with -v.
        ways["vng"] = ["vng", "-v", "-r", str(options.kernel), "--disable-kvm", "--", "sh", "work.sh"]
    found = {}
    for name, script in (("small programs", SMALL), ("a compiler", COMPILER)):
        (project / "work.sh").write_text(TIMED.format(script))
        samples = {way: [] for way in ways}
        for _ in range(max(3, options.runs // 3)):
            for way, command in ways.items():
                # virtme-ng's exit code may be lost: what counts is what the guest says.
                result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, cwd=project)
                took = re.search(r"took (\d+)", result.stdout + result.stderr)
                if not took:
                    sys.exit(f"bench: `{' '.join(command)}` did not say how long it took\n{result.stdout}{result.stderr}")
                samples[way].append(int(took[1]) / 1e6)
        found[name] = {way: Samples(values) for way, values in samples.items()}
    return found


def idle_memory(scratch, project, how):
    """MiB that an idle VM holds alone: its guest's and its processes'; and the guest's part."""
    with vms(scratch, "idle"):
        run("mvm", "create", "idle", "--project", str(project), "--start", *how)
        memory = json.loads(run("mvm", "status", "idle", "--json").stdout)["memory"]
        return memory["privateBytes"] / 2**20, memory["guestBytes"] / 2**20


TWENTY = 20


def available():
    """MiB of memory that could be had without swapping (proc(5), MemAvailable)."""
    with open("/proc/meminfo") as meminfo:
        return next(int(line.split()[1]) for line in meminfo if line.startswith("MemAvailable:")) / 1024


def twentieth(scratch, project):
    """MiB of the host's memory that one more idle VM takes when some run: the mean of the eleventh to the twentieth; and how
    many there can be."""
    with vms(scratch, "twenty"):
        run("mvm", "create", "many", "--project", str(project), "--copies", str(TWENTY))
        names = [f"many-{number + 1}" for number in range(TWENTY)]
        before = available()
        run("mvm", "start", *names[: TWENTY // 2])
        half = available()
        run("mvm", "start", *names[TWENTY // 2 :])
        each = (half - available()) / (TWENTY - TWENTY // 2)
        first = before - half - each * (TWENTY // 2 - 1)
        return each, int(1 + (before - first) / each)


def descendants(pid):
    """Process `pid` and everything below it."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # The name may hold spaces and parentheses; the fields after it are plain (proc(5)).
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting.extend(children.get(process, []))
    return found


# The file that a template is copied into, as the VMM and as the file server see it.
GUEST_MEMORY = ("/memory/guest", "/guest")
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+\s*(.*)$")


def own_memory(pid):
    """Proportional set size of a process in KiB, without the guest's memory (a file that VMM and file server map)."""
    total, guest = 0, False
    with open(f"/proc/{pid}/smaps") as smaps:
        for line in smaps:
            if mapping := MAPPING.match(line):
                guest = mapping[1].startswith("/memfd:") and "memory" in mapping[1] or mapping[1] in GUEST_MEMORY
            elif line.startswith("Pss:") and not guest:
                total += int(line.split()[1])
    return total


class MemoryWatch(threading.Thread):
    """Samples what the realm's processes hold until `stop`; keeps the largest sum and what it was made of."""

    def __init__(self, keeper):
        super().__init__(daemon=True)
        self.keeper, self.peak, self.parts, self.ended = keeper, 0, {}, threading.Event()

    def run(self):
        while not self.ended.wait(0.05):
            parts = {}
            for pid in descendants(self.keeper):
                # It may end while we read.
                with contextlib.suppress(OSError):
                    name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
                    parts[name] = parts.get(name, 0) + own_memory(pid)
            if sum(parts.values()) > self.peak:
                self.peak, self.parts = sum(parts.values()), parts

    def stop(self):
        self.ended.set()
        self.join()
        if not self.parts:
            sys.exit("bench: no memory of the VM's processes could be read (/proc/PID/smaps)")
        return self.peak / 1024, {name: kib / 1024 for name, kib in self.parts.items()}


def ancestors(pid):
    """The realm's processes above a VM's process `pid`, those of mvm's own, the topmost last."""
    found = []
    while True:
        pid = int(re.search(r"^PPid:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])
        if pid <= 1 or b"\0internal\0" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
            return found
        found.append(pid)


def keeper_of(pid):
    """The realm's topmost process."""
    return [pid, *ancestors(pid)][-1]


# Many files and much data through the file server: its and the VMM's peak, not their idle size.
WORK = "tar cf - /usr/bin /usr/lib/python3 /usr/share/doc 2>/dev/null | wc -c"
# How many VMs the cost of a further one is taken from.
VMS = 4


def running_vms(options, scratch, project):
    """`mvm exec` on a running VM; the host's memory for it while it works, and for each of three more."""
    with vms(scratch, "running"):
        run("mvm", "create", "bench", "--project", str(project), "--copies", str(VMS))
        run("mvm", "start", "bench-1")
        keeper = keeper_of(json.loads(run("mvm", "status", "bench-1", "--json").stdout)["vmmPid"])
        for _ in range(3):
            timed("mvm", "exec", "bench-1", "--", "true")
        execs = Samples(timed("mvm", "exec", "bench-1", "--", "true") for _ in range(options.execs))
        watch = MemoryWatch(keeper)
        watch.start()
        run("mvm", "exec", "bench-1", "--", "sh", "-c", WORK)
        first, parts = watch.stop()
        for number in range(2, VMS + 1):
            run("mvm", "start", f"bench-{number}")
        watch = MemoryWatch(keeper)
        watch.start()
        for number in range(2, VMS + 1):
            run("mvm", "exec", f"bench-{number}", "--", "sh", "-c", WORK)
        all_of_them, _ = watch.stop()
        return execs, first, parts, (all_of_them - first) / (VMS - 1)


def listing(options, scratch):
    """`mvm list --json` with 1,000 VMs in state."""
    with vms(scratch, "thousand"):
        run("mvm", "create", "many", "--copies", "1000", "--no-network", "--no-project")
        known = len(json.loads(run("mvm", "list", "--json").stdout))
        if known != 1000:
            sys.exit(f"bench: `mvm list --json` shows {known} VMs instead of 1000")
        return Samples(timed("mvm", "list", "--json") for _ in range(options.execs))


def disk_use(path):
    """KiB that a tree takes on disk."""
    return int(run("du", "-sk", str(path)).stdout.split()[0])


def copies(options, scratch):
    """`mvm create` of one more copy of a project of 500 MB."""
    project = scratch / "large"
    project.mkdir()
    for directory in range(50):
        (project / f"d{directory}").mkdir()
        for number in range(10):
            (project / f"d{directory}" / f"f{number}").write_bytes(os.urandom(1_000_000))
    with vms(scratch, "copies") as state:
        run("mvm", "create", "large-0", "--project", str(project))
        before = disk_use(state)
        times = Samples(timed("mvm", "create", f"large-{n + 1}", "--project", str(project)) for n in range(options.execs))
        disk = (disk_use(state) - before) / options.execs
    shutil.rmtree(project)
    return times, disk


def machine(options):
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    qemu = run("qemu-system-x86_64", "--version").stdout.split("\n")[0]
    peer = "" if options.no_peer else ", " + run("vng", "--version").stdout.strip()
    guest = options.kernel.name.removeprefix("vmlinuz-")
    return f"{model}, {os.cpu_count()} CPUs; host kernel {platform.release()}; guest kernel {guest}; {qemu}{peer}"


def measure(options, scratch):
    project = scratch / "project"
    shutil.copytree(pathlib.Path(__file__).parent.parent / "examples/c-make", project)
    rows = []

    def row(name, value, goal, number, unit):
        rows.append({"measure": name, "text": str(value), "goal": goal, "value": number, "unit": unit})

    progress("whole runs")
    with vms(scratch, "whole"):
        mvm, cold, peer, steps = whole_runs(options, project)
    row("`mvm run -- true`, from a template", mvm, "", mvm.median, "ms")
    row("`mvm run --cold -- true`", cold, "", cold.median, "ms")
    if peer:
        row("`vng -r KERNEL --disable-kvm -- true`", peer, "", peer.median, "ms")
        ratio = mvm.median / peer.median
        row("ratio of the first and the last", f"{ratio:.2f}", "at most 0.20, aim 0.12", ratio, "")
        ratio = cold.median / peer.median
        row("ratio of the second and the last", f"{ratio:.2f}", "at most 0.6, aim 0.45", ratio, "")
    ratio = mvm.median / cold.median
    row("from a template / cold", f"{ratio:.2f}", "", ratio, "")
    progress("first use")
    with vms(scratch, "first"):
        first, cold = first_uses(options, project)
    ratio = first.median / cold.median
    row("`mvm run -- true` that makes the template first / cold", f"{ratio:.2f} ({first})", "at most 1.3", ratio, "")
    progress("work in a guest")
    with vms(scratch, "work"):
        for name, found in work(options, project).items():
            if "vng" in found:
                ratio = found["mvm"].median / found["vng"].median
                row(f"{name} in a guest / in virtme-ng's", f"{ratio:.2f} ({found['mvm']} and {found['vng']})", "", ratio, "")
            else:
                row(f"{name} in a guest", found["mvm"], "", found["mvm"].median, "ms")
    progress("ten copies")
    one, ten, spent, taken = copies_together(options, scratch, project)
    ratio = ten.median / one.median
    row("`mvm start` of ten copies together / of one", f"{ratio:.1f} ({ten} and {one})", "at most 4", ratio, "")
    processors = os.cpu_count()
    least = COPIES * spent.median / processors / one.median
    text = f"{least:.1f} ({spent} each; {taken.median:.0f} ms more taken by the machine's own host)"
    row(f"what their processor time alone makes of that on {processors} processors", text, "", least, "")
    progress("idle VMs")
    (warm_private, warm_guest), (cold_private, cold_guest) = (idle_memory(scratch, project, how) for how in ([], ["--cold"]))
    text = f"{warm_private:.0f} MiB ({warm_guest:.0f} the guest's); cold {cold_private:.0f} MiB ({cold_guest:.0f})"
    row("memory that an idle VM holds alone, from a template / cold", f"{warm_private / cold_private:.2f}: {text}", "at most 0.5", warm_private / cold_private, "")
    progress("twenty idle VMs")
    each, fit = twentieth(scratch, project)
    row("host memory for the twentieth idle VM of 512 MiB", f"{each:.0f} MiB; by memory {fit} fit here", "", each, "MiB")
    progress("one running VM")
    execs, first, parts, further = running_vms(options, scratch, project)
    row("`mvm exec NAME -- true`", execs, "below 60 ms under TCG", execs.median, "ms")
    made_of = ", ".join(f"{name} {mib:.1f}" for name, mib in sorted(parts.items(), key=lambda part: -part[1]))
    row("peak host memory beside the guest's own, each further VM", f"{further:.1f} MiB", "below 80 MB", further, "MiB")
    text = f"{first:.1f} MiB ({made_of})"
    row("the same, the first VM with keeper, uplink, and the programs' and kernel's files", text, "", first, "MiB")
    progress("1,000 VMs")
    thousand = listing(options, scratch)
    row("`mvm list --json`, 1,000 VMs", thousand, "below 50 ms", thousand.median, "ms")
    progress("copies of 500 MB")
    times, disk = copies(options, scratch)
    row("`mvm create`, one more copy of 500 MB: time", times, "below 50 ms", times.median, "ms")
    row("`mvm create`, one more copy of 500 MB: disk", f"{disk:.0f} KiB", "below 1 MB", disk, "KiB")
    return {"machine": machine(options), "date": datetime.date.today().isoformat(), "rows": rows, "steps": steps}


def markdown(result, options):
    lines = [
        f"Measured {result['date']} on {result['machine']}.",
        "Medians, with the least and the most in parentheses.",
        "",
        "| measure | result | goal |",
        "|---|---|---|",
        *(f"| {row['measure']} | {row['text']} | {row['goal']} |" for row in result["rows"]),
        "",
        "Where the time of one `mvm -v run -- true` goes:",
        "",
        "```text",
        *result["steps"].splitlines(),
        "```",
        "",
        f"Repeat it: `scripts/bench --runs {options.runs} --execs {options.execs} --write`",
    ]
    return "\n".join(lines)


def write(page, text, begin_mark=BEGIN, end_mark=END):
    before, begin, rest = page.read_text().partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        sys.exit(f"bench: {page} has no lines {begin_mark} and {end_mark} to write between")
    page.write_text(f"{before}{begin_mark}\n{text}\n{end_mark}{after}")
    progress(f"wrote {page}")


def main():
    options = arguments()
    if options.runs < 1 or options.execs < 1:
        sys.exit("bench: --runs and --execs must be at least 1")
    if options.kernel is None:
        sys.exit("bench: run scripts/bench, which prepares the tools")
    os.environ["MVM_KERNEL"] = str(options.kernel)
    with tempfile.TemporaryDirectory(prefix="mvm-bench-") as scratch:
        if options.soak:
            sys.exit(soak(options, pathlib.Path(scratch)))
        result = measure(options, pathlib.Path(scratch))
    text = markdown(result, options)
    print(json.dumps(result, indent=2) if options.json else text)
    if options.write:
        write(options.page, text)


if __name__ == "__main__":
    main()
