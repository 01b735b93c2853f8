#!/usr/bin/env python3
"""Measures what evaluating a NixOS host with declared VMs costs, and writes the table into docs/reference/performance.md.

Processor time, not wall time: it does not depend on what else the machine does. Cases take turns."""

import argparse
import datetime
import os
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/performance.md"
SEPARATE = (0, 1, 2, 4, 8)
COPIES = (1, 8, 64)


def measure(inputs, kind, count):
    """CPU seconds and peak memory in GB of one evaluation."""
    expression = (
        f"import {ROOT}/tests/eval/support/cost.nix {{ nixpkgs = {inputs['nixpkgs']}; microvm = {inputs['microvm']};"
        f' kind = "{kind}"; count = {count}; }}'
    )
    # The collector's heap at its own pace: a large initial one would be the peak of the small cases.
    environment = {key: value for key, value in os.environ.items() if key != "GC_INITIAL_HEAP_SIZE"}
    process = subprocess.Popen(
        ["nix-instantiate", "--eval", "-E", expression],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{kind} {count}: {said}")
    if re.search("warning", said):
        sys.exit(f"{kind} {count} warns: {said}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="of each case [default: 3]")
    parser.add_argument("--revisions", required=True, help="what was evaluated, for the table")
    parser.add_argument("--record", action="store_true", help=f"write the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    inputs = {"nixpkgs": os.environ["MVM_NIXPKGS"], "microvm": os.environ["MVM_MICROVM_NIX"]}

    cases = [(kind, count) for count in SEPARATE for kind in ("plain", "separate")]
    cases += [("copies", count) for count in COPIES]
    found = {case: [] for case in cases}
    for run in range(options.runs):
        for case in cases:
            found[case].append(measure(inputs, *case))
            print(f"run {run + 1}: {case[0]} {case[1]}: {found[case][-1][0]:.2f} s", file=sys.stderr)
    seconds = {case: statistics.median(time for time, _ in runs) for case, runs in found.items()}
    memory = {case: statistics.median(peak for _, peak in runs) for case, runs in found.items()}

    def cell(case):
        return f"{seconds[case]:.2f} s, {memory[case]:.2f} GB"

    lines = [
        f"Measured {datetime.date.today()} with {nix_version()}, medians of {options.runs} runs; {options.revisions}.",
        "",
        "| host with | microvm.nix alone | `services.microvm-dev` | ratio | goal |",
        "|---|---|---|---|---|",
    ]
    for count in SEPARATE:
        plain, ours = ("plain", count), ("separate", count)
        goal = "at most 1.05" if count else ""
        lines.append(
            f"| {count} VMs | {cell(plain)} | {cell(ours)} | {seconds[ours] / seconds[plain]:.2f} | {goal} |"
        )
    one = seconds["copies", COPIES[0]]
    goals = {8: "at most 1.1", 64: "at most 1.3"}
    for count in COPIES:
        ratio = f"{seconds['copies', count] / one:.2f}" if count > 1 else ""
        lines.append(f"| one VM, `copies = {count}` | | {cell(('copies', count))} | {ratio} | {goals.get(count, '')} |")
    table = "\n".join(lines)
    print(table)
    if options.record:
        text = PAGE.read_text()
        begin, end = "<!-- bench-eval:begin -->", "<!-- bench-eval:end -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        PAGE.write_text(f"{before}{begin}\n{table}\n{end}{after}")


def nix_version():
    return subprocess.run(["nix-instantiate", "--version"], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
