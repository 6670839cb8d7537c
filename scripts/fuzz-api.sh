#!/usr/bin/env bash
# Sends schema-derived requests, right and wrong, to every operation of the JSON API, and counts answers that blame the server (5xx): none is
# allowed. Needs a debug build of the program, Python with venv, and its package index. About ten minutes for 10,000 cases.
#
# usage: scripts/fuzz-api.sh [CASES_PER_OPERATION]   (default 400; there are more than 30 operations)
set -euo pipefail
cd "$(dirname "$0")/.."

cases=${1:-400}
fuzz=$PWD/.venv-fuzz
if ! cmp -s scripts/fuzz-requirements.txt "$fuzz/installed.txt"; then
  python3 -m venv --clear "$fuzz"
  "$fuzz/bin/pip" install --quiet --no-input --disable-pip-version-check --requirement scripts/fuzz-requirements.txt </dev/null
  # Last, so that an interrupted installation is made anew.
  cp scripts/fuzz-requirements.txt "$fuzz/installed.txt"
fi
montauk=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug/montauk
home=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$home"' EXIT

"$montauk" init "$home/project" --template minimal --quiet
"$montauk" -C "$home/project" api serve --listen 127.0.0.1:0 >"$home/said" 2>"$home/log" &
server=$!
for _ in $(seq 100); do
  grep -q '^listening' "$home/said" && break
  sleep 0.1
done
token=$(sed -n 's/^token //p' "$home/said")
address=$(sed -n 's/^listening on //p' "$home/said")

# One token for all: an operation that ends tokens or changes people would end the run, so these two are left to the tests of the room.
(cd "$home" && "$fuzz/bin/st" run "$address/api/v1/openapi.json" --header "Authorization: Bearer $token" \
  --checks not_a_server_error --phases coverage,fuzzing --max-examples "$cases" --mode all --continue-on-failure \
  --exclude-operation-id revoke_token --suppress-health-check all --warnings off --seed 1 --no-color)
