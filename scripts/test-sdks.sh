#!/usr/bin/env bash
# Runs other people's SDKs against the real `montauk-edge`: GrowthBook's and OpenFeature's, in JavaScript, Python and Rust, in the versions
# that their lock files name. Prints a table of client and check. Needs Node.js 20 or newer with npm, Python 3.10 or newer with venv, cargo and their package
# indices (behind a mirror: npm_config_registry, PIP_INDEX_URL, cargo's source replacement). First run: about two minutes beside the build, then one.
#
# MONTAUK_SDKS  where Python's environment and the Rust clients' build are kept (default: .venv-sdks)
set -euo pipefail
cd "$(dirname "$0")/.."

sdks=${MONTAUK_SDKS:-$PWD/.venv-sdks}
clients=$PWD/sdks/clients
log=$(mktemp)
trap 'rm -f "$log"' EXIT

fail() {
  printf 'error: %s\nhelp: %s\n' "$1" "$2" >&2
  exit 3
}

command -v npm >/dev/null || fail 'there is no npm' 'install Node.js 20 or newer, then run make test-sdks again'
node -e 'process.exit(Number(process.versions.node.split(".")[0] < 20))' || fail "Node.js $(node --version) is too old" 'install 20 or newer: older ones have no WebCrypto'

mkdir -p "$sdks"
# Tools that look at the repository leave directories with this mark alone (the Cache Directory Tagging Specification).
printf 'Signature: 8a477f597d28d172789f06886806bc55\n' >"$sdks/CACHEDIR.TAG"

(cd "$clients/js" && npm ci --silent --no-audit --no-fund </dev/null) || fail 'the JavaScript clients could not be installed' 'npm needs its registry'
requirements=$clients/python/requirements.txt
if ! cmp -s "$requirements" "$sdks/python/installed.txt" || ! "$sdks/python/bin/python" -V >/dev/null 2>&1; then
  python3 -m venv --clear "$sdks/python"
  "$sdks/python/bin/pip" install --quiet --no-input --disable-pip-version-check --requirement "$requirements" </dev/null ||
    fail 'the Python clients could not be installed' 'pip needs its package index; behind a mirror set PIP_INDEX_URL'
  # Last, so that an interrupted installation is made anew.
  cp "$requirements" "$sdks/python/installed.txt"
fi
CARGO_TARGET_DIR=$sdks/rust cargo build --quiet --locked --bins --examples --manifest-path "$clients/rust/Cargo.toml"

# "$@" goes to cargo, such as `-p edge -p experiment` where the rest of the workspace is not built. Without it what the tests are made of is taken:
# a plain build of the workspace has other features, and would compile the data engine once more.
if (($# > 0)); then
  cargo build "$@" --locked --bins --examples
else
  cargo test --workspace --locked --no-run --quiet
fi
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/debug
export EDGE=$target/montauk-edge SNAPSHOT=$target/examples/snapshot EVALUATE=$target/examples/evaluate SNIPPETS=$sdks/rust/debug/examples

failed=0
(cd "$clients/js" && node run.mjs) | tee -a "$log" || failed=1
(cd "$clients/python" && PYTHONDONTWRITEBYTECODE=1 "$sdks/python/bin/python" run.py) | tee -a "$log" || failed=1
"$sdks/rust/debug/clients" | tee -a "$log" || failed=1

printf '\n'
awk -F'\t' '$1 == "result" { printf "%-26s %-28s %s\n", $2, $3, $4 }' "$log"
exit "$failed"
