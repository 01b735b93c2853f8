#!/bin/sh
# Compares ./wordcount with known answers.
set -eu

failed=0
expect() {
    # shellcheck disable=SC2059  # the escapes in it are meant
    got=$(printf "$1" | ./wordcount)
    if [ "$got" = "$2" ]; then
        echo "ok: $2"
    else
        echo "FAILED: got '$got', expected '$2'" >&2
        failed=1
    fi
}

expect '' '0 0 0'
expect 'one' '0 1 3'
expect 'one two\n' '1 2 8'
expect '\n\n  a\tb \n' '3 2 9'
if ./wordcount /nonexistent 2>/dev/null; then
    echo "FAILED: a missing file is no error" >&2
    failed=1
fi
exit $failed
