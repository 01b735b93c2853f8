#!/usr/bin/env python3
"""Compares files with what the modules generate, given as JSON of paths and texts; with --update, writes them."""

import difflib
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Where every file is generated: one that no longer is, has to go.
OWNED = ROOT / "tests/eval/golden"


def main():
    update = "--update" in sys.argv[1:]
    generated = {ROOT / path: content for path, content in json.load(sys.stdin).items()}
    stale = 0
    for path, content in sorted(generated.items()):
        committed = path.read_text() if path.exists() else ""
        if committed == content:
            continue
        stale += 1
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            print(f"wrote {path.relative_to(ROOT)}", file=sys.stderr)
        else:
            name = str(path.relative_to(ROOT))
            lines = (committed.splitlines(True), content.splitlines(True))
            sys.stderr.writelines(difflib.unified_diff(*lines, name, "generated"))
    for path in OWNED.rglob("*"):
        if path.is_file() and path not in generated:
            stale += 1
            if update:
                path.unlink()
            print(f"{path.relative_to(ROOT)} is not generated any more", file=sys.stderr)
    if stale and not update:
        print("goldens: run scripts/test-nix --update, look at the difference, and commit it", file=sys.stderr)
        return 1
    print(f"goldens: {len(generated)} files", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
