"""Polls a warehouse with the `deltalake` package while others write to it, and reports whatever a reader must never see.

Usage: switch_reader.py WAREHOUSE STOP_FILE
For every catalog number: the three marts have the same sum and the same row count, and agree with the staging table; no
unchecked row (amount over 100) and no row twice. Beside that, the newest Delta version of each table is read the way an
outside reader would. Prints one JSON object: {"catalogs": n, "polls": n, "violations": [...]}.
"""

import json
import pathlib
import sys
import time

from deltalake import DeltaTable

MARTS = ["marts.by_shop", "marts.by_day", "marts.by_both"]
STAGING = "staging.stg_lines"


def columns(path, version=None):
    table = DeltaTable(str(path), version=version)
    batch = table.to_pyarrow_table()
    return {name: batch.column(name).to_pylist() for name in batch.column_names}


def check_staging(where, rows, violations):
    if len(set(rows["id"])) != len(rows["id"]):
        violations.append(f"{where}: {len(rows['id']) - len(set(rows['id']))} rows twice")
    if any(amount > 100 for amount in rows["amount"]):
        violations.append(f"{where}: an unchecked row is visible")


def check_catalog(root, catalog, violations):
    tables = catalog["tables"]
    if not all(name in tables for name in [STAGING, *MARTS]):
        return
    number = catalog["number"]
    staging = columns(root / tables[STAGING]["path"], tables[STAGING]["version"])
    check_staging(f"catalog {number}", staging, violations)
    expected = (sum(staging["amount"]), len(staging["amount"]))
    for name in MARTS:
        mart = columns(root / tables[name]["path"], tables[name]["version"])
        found = (sum(mart["amount"]), sum(mart["lines"]))
        if found != expected:
            violations.append(f"catalog {number}: {name} says {found}, staging says {expected}")


def check_newest(root, violations):
    """What a reader without our catalog sees: each table alone, at its newest version."""
    staging = root / "staging" / "stg_lines"
    if (staging / "_delta_log").exists():
        check_staging("newest staging.stg_lines", columns(staging), violations)


def main():
    root, stop = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    seen, polls, violations = set(), 0, []
    while True:
        last = stop.exists()
        for path in sorted((root / "_montauk" / "catalog").glob("*.json")):
            if path.name not in seen:
                check_catalog(root, json.loads(path.read_text()), violations)
                seen.add(path.name)
        check_newest(root, violations)
        polls += 1
        if last:
            break
        time.sleep(0.05)
    print(json.dumps({"catalogs": len(seen), "polls": polls, "violations": violations}))


if __name__ == "__main__":
    main()
