#!/usr/bin/env bash
# Writes .sqlx anew: the checked queries' types, from a scratch database made by the migrations. Needed after a query or table changed.
set -euo pipefail
cd "$(dirname "$0")"
scratch=$(mktemp -d); trap 'rm -rf "$scratch"' EXIT
python3 - "$scratch/fog.sqlite" migrations/*.sql <<'PY'
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
for path in sys.argv[2:]:
    database.executescript(open(path).read())
PY
rm -rf .sqlx && mkdir .sqlx
touch src/lib.rs
DATABASE_URL=sqlite:$scratch/fog.sqlite SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$PWD/.sqlx cargo check -p fogbank-store
echo "store: $(find .sqlx -name '*.json' | wc -l) checked queries"
