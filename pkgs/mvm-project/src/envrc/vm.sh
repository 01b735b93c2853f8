#!/bin/sh
# vm COMMAND...: runs it in this project's VM, in the same directory; without a command, a shell there.
set -eu
: "${MICROVM_NAME:?vm works where an .envrc of microvm-dev is loaded}" "${MICROVM_PROJECT:?}"
[ $# -gt 0 ] || exec mvm shell "$MICROVM_NAME"
here=$(pwd -P && echo .)
here=${here%??}
case $here/ in
  "$MICROVM_PROJECT"/*) dir=/project${here#"$MICROVM_PROJECT"} ;;
  *) dir=/project ;;
esac
if [ -t 0 ] && [ -t 1 ]; then
  exec mvm exec "$MICROVM_NAME" --tty --workdir "$dir" -- "$@"
fi
exec mvm exec "$MICROVM_NAME" --workdir "$dir" -- "$@"
