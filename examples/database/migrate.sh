#!/bin/sh
# Applies the migrations that the database doesn't have yet, in order, each whole or not at all. The database is the one
# that psql's variables name (PGHOST, PGUSER, PGDATABASE, …).
set -eu
cd "$(dirname "$0")"

run() { psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"; }

run -c "SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS migration (name text PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
for file in migrations/*.sql; do
    name=$(basename "$file" .sql)
    [ -z "$(run -c "SELECT 1 FROM migration WHERE name = '$name'")" ] || continue
    run --single-transaction -f "$file" -c "INSERT INTO migration (name) VALUES ('$name')"
    echo "applied $name"
done
