"""Polls a warehouse with the `deltalake` package while others write to it, and reports whatever a reader must never see.

Usage: switch_reader.py WAREHOUSE STOP_FILE
WAREHOUSE is a directory or `s3://bucket/prefix`; a bucket is reached by AWS_ENDPOINT, AWS_ACCESS_KEY_ID and so on.
For every catalog number: the three marts have the same sum and the same row count, and agree with the staging table; no
unchecked row (amount over 100) and no row twice. Beside that, the newest Delta version of each table is read the way an
outside reader would. Prints one JSON object: {"catalogs": n, "polls": n, "violations": [...]}.
"""

import json
import os
import pathlib
import sys
import time

import boto3
from deltalake import DeltaTable

MARTS = ["marts.by_shop", "marts.by_day", "marts.by_both"]
STAGING = "staging.stg_lines"


class Directory:
    """A warehouse on disk."""

    options = None

    def __init__(self, root):
        self.root = pathlib.Path(root)

    def list(self, prefix):
        return [f"{prefix}/{path.name}" for path in (self.root / prefix).glob("*.json")]

    def read(self, path):
        return (self.root / path).read_bytes()

    def url(self, path):
        return str(self.root / path)


class Bucket:
    """A warehouse in a bucket."""

    def __init__(self, location):
        self.location = location
        self.bucket, self.prefix = location.removeprefix("s3://").split("/", 1)
        endpoint = os.environ["AWS_ENDPOINT"]
        self.client = boto3.client("s3", endpoint_url=endpoint)
        self.options = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}

    def list(self, prefix):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/{prefix}/")
        keys = (found["Key"] for page in pages for found in page.get("Contents", []))
        return [key.removeprefix(f"{self.prefix}/") for key in keys if key.endswith(".json")]

    def read(self, path):
        return self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{path}")["Body"].read()

    def url(self, path):
        return f"{self.location}/{path}"


def columns(place, path, version=None):
    table = DeltaTable(place.url(path), version=version, storage_options=place.options)
    batch = table.to_pyarrow_table()
    return {name: batch.column(name).to_pylist() for name in batch.column_names}


def check_staging(where, rows, violations):
    if len(set(rows["id"])) != len(rows["id"]):
        violations.append(f"{where}: {len(rows['id']) - len(set(rows['id']))} rows twice")
    if any(amount > 100 for amount in rows["amount"]):
        violations.append(f"{where}: an unchecked row is visible")


def check_catalog(place, catalog, violations):
    tables = catalog["tables"]
    if not all(name in tables for name in [STAGING, *MARTS]):
        return
    number = catalog["number"]
    staging = columns(place, tables[STAGING]["path"], tables[STAGING]["version"])
    check_staging(f"catalog {number}", staging, violations)
    expected = (sum(staging["amount"]), len(staging["amount"]))
    for name in MARTS:
        mart = columns(place, tables[name]["path"], tables[name]["version"])
        found = (sum(mart["amount"]), sum(mart["lines"]))
        if found != expected:
            violations.append(f"catalog {number}: {name} says {found}, staging says {expected}")


def check_newest(place, violations):
    """What a reader without our catalog sees: each table alone, at its newest version."""
    staging = "staging/stg_lines"
    if place.list(f"{staging}/_delta_log"):
        check_staging("newest staging.stg_lines", columns(place, staging), violations)


def main():
    location, stop = sys.argv[1], pathlib.Path(sys.argv[2])
    place = Bucket(location) if location.startswith("s3://") else Directory(location)
    seen, polls, violations = set(), 0, []
    while True:
        last = stop.exists()
        for path in sorted(place.list("_montauk/catalog")):
            if path not in seen:
                check_catalog(place, json.loads(place.read(path)), violations)
                seen.add(path)
        check_newest(place, violations)
        polls += 1
        if last:
            break
        time.sleep(0.05)
    print(json.dumps({"catalogs": len(seen), "polls": polls, "violations": violations}), flush=True)
    # The threads of Arrow's C++ library can outlive the interpreter and abort it on its way out; all is said, so it ends here.
    os._exit(0)


if __name__ == "__main__":
    main()
