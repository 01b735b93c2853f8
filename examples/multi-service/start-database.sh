#!/bin/sh
# Starts a PostgreSQL of its own below the home directory, for the user `links` without a password: in a VM whose peers
# are the only ones that reach it.
set -eu

# Debian keeps the server's programs out of PATH.
for dir in /usr/lib/postgresql/*/bin; do PATH=$PATH:$dir; done
data=$HOME/database
if [ ! -e "$data/PG_VERSION" ]; then
    initdb -D "$data" -U links --auth=trust >/dev/null
    echo "host all links samenet trust" >>"$data/pg_hba.conf"
fi
exec pg_ctl start -D "$data" -l "$data/log" -w -o "-k $data -c listen_addresses=*"
