#!/bin/sh
# Tries the migrations on a PostgreSQL of its own, in a temporary directory, reached by a Unix socket only.
set -eu
cd "$(dirname "$0")"

# Debian keeps the server's programs out of PATH.
for dir in /usr/lib/postgresql/*/bin; do PATH=$PATH:$dir; done
command -v initdb >/dev/null || { echo "test.sh: there is no initdb: install PostgreSQL's server" >&2; exit 1; }
[ "$(id -u)" != 0 ] || { echo "test.sh: PostgreSQL doesn't run as root: run this as another user" >&2; exit 1; }

data=$(mktemp -d)
trap 'pg_ctl stop -D "$data/db" -m immediate -s 2>/dev/null; rm -rf "$data"' EXIT
initdb -D "$data/db" -U app --auth=trust --no-sync >/dev/null
pg_ctl start -D "$data/db" -l "$data/log" -w -s -o "-k $data -c listen_addresses=" || { cat "$data/log" >&2; exit 1; }
export PGHOST="$data" PGUSER=app PGDATABASE=postgres

failed=0
expect() {
    got=$(psql -XqtA -v ON_ERROR_STOP=1 -c "$2" 2>&1) || true
    # shellcheck disable=SC2254  # a pattern is meant
    case $got in
        $3) echo "ok: $1" ;;
        *) echo "FAILED: $1: got '$got', expected '$3'" >&2; failed=1 ;;
    esac
}

[ "$(./migrate.sh)" = "applied 001-shop
applied 002-place-order" ] || { echo "FAILED: the migrations are applied in order" >&2; failed=1; }
[ -z "$(./migrate.sh)" ] || { echo "FAILED: a second time there is nothing to do" >&2; failed=1; }

expect "products are kept" "INSERT INTO product (name, price_cents, stock) VALUES ('tea', 450, 3) RETURNING name" tea
expect "an order takes from the stock" "SELECT place_order('tea', 2); SELECT stock FROM product" "*1"
expect "what isn't there can't be sold" "SELECT place_order('tea', 2)" "*violates check constraint*"
expect "and such an order leaves nothing" "SELECT stock, (SELECT count(*) FROM orders) FROM product" "1|1"
expect "an unknown product is named" "SELECT place_order('soap', 1)" "*there is no product soap*"
expect "an order is of one piece or more" "SELECT place_order('tea', -1)" "*violates check constraint*"
exit $failed
