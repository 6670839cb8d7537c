#!/usr/bin/env bash
# How long `montauk analyze` takes on a million units, five million events over 28 days and 20 metrics: at first, and when nothing has changed.
# Usage: scripts/analysis-speed.sh [BINARY]. Prints seconds, processor seconds and peak memory; needs GNU time and 1 GiB of disk.
set -euo pipefail
montauk=$(realpath "${1:-target/release/montauk}")
project=$(mktemp -d)
trap 'rm -rf "$project"' EXIT
cd "$project"
mkdir -p models/marts metrics experiments
printf '[project]\nname = "speed"\n' >montauk.toml

# Numbers from 1 on: the engine has no series as a table.
numbers() {
  echo "(select a.value * 1000 + b.value + 1 as value from (select unnest(range(0, $1)) as value) a cross join (select unnest(range(0, 1000)) as value) b)"
}
cat >models/marts/exposures.sql <<SQL
-- materialized: table   grain: unit_id
select 'user-' || cast(value as varchar) as unit_id, 'big' as experiment,
  case when value * 2654435761 % 4294967296 % 1000 < 500 then 'control' else 'short' end as variant,
  arrow_cast('2026-03-15T00:00:00', 'Timestamp(Microsecond, None)') + arrow_cast(value * 40503 % 1209600 * 1000000, 'Duration(Microsecond)') as occurred_at
from $(numbers 1000)
SQL
cat >models/marts/events.sql <<SQL
-- materialized: table
select 'user-' || cast(value * 7919 % 1000003 % 1000000 + 1 as varchar) as user_id,
  case value % 10 when 0 then 'buy' when 1 then 'cart' when 2 then 'buy' else 'view' end as kind, value % 1000 as item,
  cast(value * 31 % 9973 as double) / 100 as amount,
  arrow_cast('2026-03-01T00:00:00', 'Timestamp(Microsecond, None)') + arrow_cast(value * 48271 % 2419200 * 1000000, 'Duration(Microsecond)') as occurred_at
from $(numbers 5000)
SQL
metric() { printf '%b' "$2" >"metrics/$1.toml"; }
for kind in buy cart view; do
  for days in 7 14; do
    fact="window_days = $days\n[fact]\ntable = \"marts.events\"\nwhere = \"kind = '$kind'\"\n"
    metric "sum_${kind}_$days" "kind = \"mean\"\n${fact}value = \"amount\"\n"
    metric "count_${kind}_$days" "kind = \"count\"\n$fact"
    metric "any_${kind}_$days" "kind = \"proportion\"\n$fact"
  done
done
metric ratio "kind = \"ratio\"\nfact = { table = \"marts.events\", value = \"amount\", where = \"kind = 'buy'\" }\ndenominator = { table = \"marts.events\", aggregate = \"count\", where = \"kind = 'buy'\" }\n"
metric back "kind = \"retention\"\nafter_days = 4\nwindow_days = 5\n[fact]\ntable = \"marts.events\"\n"
others=$(ls metrics | sed 's/.toml//' | grep -v sum_buy_7 | sed 's/.*/"&"/' | paste -sd,)
cat >experiments/big.toml <<TOML
[assignment]
key = "big"
variants = [{ key = "control", value = false }, { key = "short", value = true }]
[analysis]
exposures = "marts.exposures"
start = "2026-03-15T00:00:00Z"
end = "2026-03-29T00:00:00Z"
goals = ["sum_buy_7"]
secondary = [$others]
TOML
"$montauk" -q build >/dev/null
for run in first unchanged; do
  /usr/bin/time -f "$run: %e s, %U + %S processor seconds, %M KiB" "$montauk" analyze --until 2026-03-29 2>&1 | grep -E "Build|processor"
done
