#!/usr/bin/env bash
# Makes sure that everything `make test` needs is there: MariaDB, PostgreSQL, a C compiler, and a Python environment with an S3
# server. The tests start the servers themselves, in temporary directories on free ports; nothing is left running, no service is set up.
#
# As root on Debian: installs what is missing. Otherwise: names what is missing and how to get it, and fails.
# Run again: a second or less, nothing is installed twice.
set -euo pipefail
cd "$(dirname "$0")/.."

requirements=scripts/test-requirements.txt
venv=${MONTAUK_TEST_VENV:-.venv-test}

# Prints the Debian packages that are missing, one a line.
missing_packages() {
  command -v cc >/dev/null || echo build-essential
  { PATH="$PATH:/usr/sbin" command -v mariadbd && command -v mariadb-install-db && command -v mariadb; } >/dev/null || echo mariadb-server
  command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || echo postgresql
  python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# Installs Debian packages without asking and without starting the services that come with them.
install_packages() {
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    # 101 = "action not allowed" (Debian policy 9.3.3.1): the packages leave their services alone.
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    # shellcheck disable=SC2064
    trap "rm -f '$policy'" EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq </dev/null
  apt-get install -y -qq -o DPkg::Lock::Timeout=120 --no-install-recommends "$@" </dev/null
}

mapfile -t missing < <(missing_packages)
if ((${#missing[@]})); then
  if [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null; then
    echo "installing from Debian: ${missing[*]}" >&2
    install_packages "${missing[@]}"
    mapfile -t missing < <(missing_packages)
  fi
  if ((${#missing[@]})); then
    echo "error: the tests need what these Debian packages hold: ${missing[*]}" >&2
    echo "help: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    echo "      on another system: a C compiler, MariaDB's mariadbd, PostgreSQL's postgres and Python 3.11 or newer, all in PATH" >&2
    exit 3
  fi
fi

# A Python that is gone (an upgrade of the system) leaves an environment that looks whole.
if ! cmp -s "$requirements" "$venv/installed.txt" || ! "$venv/bin/python" -V >/dev/null 2>&1; then
  echo "making $venv from $requirements" >&2
  python3 -m venv --clear "$venv"
  if ! "$venv/bin/pip" install --quiet --no-input --disable-pip-version-check --requirement "$requirements" </dev/null; then
    echo "error: the Python packages of $requirements could not be installed" >&2
    echo "help: pip needs its package index; behind a mirror set PIP_INDEX_URL, then run make test again" >&2
    exit 3
  fi
  # Last, so that an interrupted installation is made anew.
  cp "$requirements" "$venv/installed.txt"
fi
