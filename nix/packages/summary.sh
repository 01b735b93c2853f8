#!/bin/sh
# Makes mdbook's list of chapters of docs/README.md: its headings in bold, and its links to pages below docs/.
set -eu

printf '# Summary\n\n[Documentation](README.md)\n'
tr -s '\n ' '  ' | grep -oE '\*\*[^*]+\*\*|\[[^]]+\]\([a-z][^):]*\.md\)' |
  sed -E 's/^\*\*(.*)\*\*$/\n# \1\n/; s/^\[/- [/'
