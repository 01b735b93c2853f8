#!/usr/bin/env python3
"""Prints what tests/run.nix found, given as JSON: how many tests of TITLE ran, and what is wrong with those that failed."""

import json
import sys


def main():
    title = sys.argv[1]
    result = json.load(sys.stdin)
    for test in result["failed"]:
        print(f"FAILED {test['file']}: {test['name']}", file=sys.stderr)
        for side in ("expected", "actual"):
            print(f"  {side}: {json.dumps(test[side], indent=2, ensure_ascii=False)}", file=sys.stderr)
    passed = result["count"] - len(result["failed"])
    print(f"{title}: {passed} of {result['count']} tests passed", file=sys.stderr)
    return 1 if result["failed"] or not result["count"] else 0


if __name__ == "__main__":
    sys.exit(main())
