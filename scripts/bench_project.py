"""Measures detection of projects, and what direnv adds to a prompt; run by `scripts/bench project`.

Projects, VM and direnv's own files are in a temporary directory; in a network namespace of its own if root runs it.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import subprocess
import tempfile

import bench

BEGIN, END = "<!-- bench-project:begin -->", "<!-- bench-project:end -->"
VM = "bench-project"
LINES = 300
FILES = 50_000


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench project", description="Measures detection and direnv.")
    parser.add_argument("--runs", type=int, default=31, metavar="N", help="samples of each measure (default 31)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reference/performance.md")
    parser.add_argument("--kernel", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--page", type=pathlib.Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def devenv(lines):
    """A devenv.nix of that many lines, with a bit of everything that people write."""
    head = [
        "{ pkgs, lib, config, ... }:",
        "let",
        '  names = [ "a" "b" "c" ];',
        "  port = 3000;",
        "in",
        "{",
        "  packages = with pkgs; [ git jq curl nodejs ] ++ lib.optionals true [ pkgs.ripgrep ];",
        "  languages.javascript = { enable = true; pnpm.enable = true; };",
        "  services.postgres = { enable = true; initialDatabases = map (name: { inherit name; }) names; };",
        "  services.redis.enable = true;",
    ]
    body = []
    number = 0
    while len(head) + len(body) + 8 <= lines:
        body += [
            f"  processes.worker{number} = {{",
            f'    exec = "${{pkgs.nodejs}}/bin/node worker.js --number {number}";',
            f"    ports.http.allocate = port + {number};",
            f'    env.NUMBER = toString {number};',
            "  };",
            f'  env.VALUE_{number} = lib.concatStringsSep "," (map (name: "${{name}}-{number}") names);',
            f'  scripts.task{number}.exec = "echo {number}";',
        ]
        number += 1
    fill = ["  # the end"] * (lines - len(head) - len(body) - 1)
    return "\n".join([*head, *body, *fill, "}"]) + "\n"


def project(directory, text):
    (directory / ".git").mkdir(parents=True)
    (directory / "devenv.nix").write_text(text)
    return directory


def tree(directory, files):
    """A project among many files, as node_modules has them."""
    for number in range(files // 100):
        package = directory / "node_modules" / f"package-{number}"
        package.mkdir(parents=True)
        for name in range(100):
            (package / f"file-{name}.js").touch()
    (directory / "package.json").write_text('{ "scripts": { "dev": "vite --port 5173" } }')
    return project(directory, "{ services.redis.enable = true; }")


@contextlib.contextmanager
def running(scratch, directory):
    """The environment of somebody in `directory`, whose VM runs."""
    environment = dict(os.environ)
    for variable, name in {"MVM_STATE_DIR": "state", "MVM_CACHE_DIR": "cache", "MVM_RUNTIME_DIR": "run", "HOME": "home", "XDG_DATA_HOME": "data"}.items():
        environment[variable] = str(scratch / name)
        (scratch / name).mkdir()
    for variable in ("DIRENV_DIR", "DIRENV_FILE", "DIRENV_WATCHES", "DIRENV_DIFF", "XDG_CONFIG_HOME"):
        environment.pop(variable, None)
    inside = {"cwd": directory, "env": environment}
    try:
        bench.run("create-microvm-env", VM, **inside)
        bench.run("direnv", "allow", ".", **inside)
        bench.run("mvm-devenv", ".", VM, "--yes", "--no-wait", **inside)
        yield inside
    finally:
        subprocess.run(["mvm", "delete", "--force", VM], capture_output=True, check=False, **inside)


def samples(options, *command, **more):
    bench.run(*command, **more)
    return bench.Samples(bench.timed(*command, **more) for _ in range(options.runs))


def rows_of(options, scratch):
    rows = []

    def row(name, found, goal, most):
        rows.append({"measure": name, "text": str(found), "goal": goal, "value": found.median, "met": most is None or found.median < most})
        bench.progress(f"  {name}: {found}")

    bench.progress("detection")
    small = project(scratch / "small", devenv(LINES))
    large = tree(scratch / "large", FILES)
    detect = ["mvm-devenv", "detect", "--json"]
    row(f"`mvm-devenv detect`, a devenv.nix of {LINES} lines", samples(options, *detect, str(small)), "below 5 ms", 5)
    row(f"`mvm-devenv detect`, a tree of {FILES:,} files", samples(options, *detect, str(large)), "below 50 ms", 50)
    bench.progress("direnv")
    web = project(scratch / "web", '{ processes.web = { exec = "sleep infinity"; ports.http.allocate = 3000; }; }')
    with running(scratch, web) as inside:
        loaded = samples(options, "direnv", "exec", ".", "true", **inside)
        (web / ".envrc").write_text("")
        bench.run("direnv", "allow", ".", **inside)
        bare = samples(options, "direnv", "exec", ".", "true", **inside)
        row("`direnv exec . true` with the VM running", loaded, "below 200 ms", 200)
        row("the same with an empty .envrc", bare, "", None)
    return rows


def main():
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="mvm-bench-") as directory:
        os.environ["MVM_KERNEL"] = str(options.kernel)
        rows = rows_of(options, pathlib.Path(directory).resolve())
    if options.json:
        print(json.dumps({"rows": rows}, indent=2))
        return
    direnv = bench.run("direnv", "version").stdout.strip()
    cpus = os.cpu_count()
    today = datetime.date.today().isoformat()
    text = f"Measured {today} on {cpus} CPUs; kernel {platform.release()}; direnv {direnv}. Whole programs, from start to end; medians, with\nthe least and the most in parentheses.\n\n"
    text += "| measure | result | goal |\n|---|---|---|\n"
    text += "".join(f"| {row['measure']} | {row['text']} | {row['goal']} |\n" for row in rows)
    text += f"\nRepeat it: `scripts/bench project --runs {options.runs} --write`\n"
    print(text)
    if options.write:
        bench.write(options.page, text, BEGIN, END)


if __name__ == "__main__":
    main()
