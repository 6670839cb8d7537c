#!/usr/bin/env bash
# Runs real Airbyte connectors through the room `connect`. Each is installed into a Python environment of its own, once: together they
# take 1.1 GB and a few minutes. Needs Python 3.10 or 3.11 with venv, and pip's package index (behind a mirror: PIP_INDEX_URL).
#
# MONTAUK_CONNECTORS  where the environments are kept (default: .venv-connectors)
# MONTAUK_RECORDINGS  recordings of connectors; read when they are there (default: ../shared/fixtures/ingest/airbyte)
set -euo pipefail
cd "$(dirname "$0")/.."

export MONTAUK_CONNECTORS=${MONTAUK_CONNECTORS:-$PWD/.venv-connectors}
export MONTAUK_RECORDINGS=${MONTAUK_RECORDINGS:-$PWD/../shared/fixtures/ingest/airbyte}

# Their libraries exclude each other, hence one environment for each.
connectors=(
  faker:airbyte-source-faker==7.2.1
  smoke-test:airbyte-source-smoke-test==0.1.2
)

mkdir -p "$MONTAUK_CONNECTORS"
# Tools that look at the repository leave directories with this mark alone (the Cache Directory Tagging Specification).
printf 'Signature: 8a477f597d28d172789f06886806bc55\n' >"$MONTAUK_CONNECTORS/CACHEDIR.TAG"
for connector in "${connectors[@]}"; do
  venv=$MONTAUK_CONNECTORS/${connector%%:*}
  requirement=${connector#*:}
  if [[ $(cat "$venv/installed.txt" 2>/dev/null) != "$requirement" ]] || ! "$venv/bin/python" -V >/dev/null 2>&1; then
    echo "installing $requirement into $venv" >&2
    python3 -m venv --clear "$venv"
    if ! "$venv/bin/pip" install --quiet --no-input --disable-pip-version-check "$requirement" </dev/null; then
      echo "error: $requirement could not be installed" >&2
      echo "help: it needs Python 3.10 or 3.11; behind a mirror set PIP_INDEX_URL, then run make test-connectors again" >&2
      exit 3
    fi
    # Last, so that an interrupted installation is made anew.
    printf '%s\n' "$requirement" >"$venv/installed.txt"
  fi
done

kinds=(real)
if [[ -d $MONTAUK_RECORDINGS ]]; then
  kinds+=(recorded)
else
  echo "no recordings in $MONTAUK_RECORDINGS: only the connectors themselves are run" >&2
fi
# "$@" goes to cargo, such as `-p connect` where the rest of the workspace is not built.
cargo test "${@:---workspace}" --locked --test connectors -- "${kinds[@]}"
