"""Prints how fast `montauk copy` loads staged rows: Parquet at two sizes, CSV without and with bad rows.

Usage: .venv-bench/bin/python bench/load.py [--target DIR] [--rows N] [--csv-rows N] [--rounds N]
Needs a release build and a Python environment with pyarrow (`make bench-load` makes it). Nothing is asserted about time; counts are.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

import pyarrow
import pyarrow.parquet

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE_ROWS = 250_000


def orders(first, count):
    """Rows as an order table has them: keys, codes, exact amounts, moments, texts of which a third is absent."""
    ids = range(first, first + count)
    random.seed(first)
    cents = [random.randrange(10_000_000) for _ in ids]
    return pyarrow.table({
        "id": pyarrow.array(ids, pyarrow.int64()),
        "user_id": pyarrow.array([n * 7919 % 200_000 for n in ids], pyarrow.int32()),
        "status": pyarrow.array([("new", "paid", "shipped", "refunded", "cancelled")[n % 5] for n in ids]),
        "amount": pyarrow.array([f"{n // 100}.{n % 100:02}" for n in cents]).cast(pyarrow.decimal128(12, 2)),
        "created_at": pyarrow.array([1_704_067_200_000_000 + n * 13_000_000 for n in ids], pyarrow.timestamp("us")),
        "updated_at": pyarrow.array([None if n % 4 == 0 else 1_704_067_200_000_000 + n for n in ids], pyarrow.timestamp("us", "UTC")),
        "coupon": pyarrow.array([f"SAVE{n % 1000}" if n % 10 >= 7 else None for n in ids]),
        "note": pyarrow.array([f"note {n} {'lorem ipsum ' * (n % 4)}" if n % 3 else None for n in ids]),
        "attrs": pyarrow.array([f'{{"sku": "SKU-{n % 50_000}", "qty": {1 + n % 9}}}' for n in ids]),
    })


class Project:
    """A project over the files of one directory."""

    def __init__(self, directory, binary, pattern, options):
        self.directory, self.binary = directory, binary
        (directory / "sources").mkdir(parents=True)
        (directory / "data").mkdir()
        (directory / "montauk.toml").write_text('[project]\nname = "bench"\n')
        source = f'kind = "file"\n[tables.orders]\npath = "data/{pattern}"\ninto = "raw.orders"\n[tables.orders.copy]\n{options}\n'
        (directory / "sources/shop.toml").write_text(source)

    def run(self, *arguments):
        """Wall and CPU seconds, peak MiB, and the report."""
        started = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen([self.binary, "-C", str(self.directory), "--json", *arguments], stdout=said)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - started
            said.seek(0)
            text = said.read().decode()
        if status:
            sys.exit(f"montauk {' '.join(arguments)} failed:\n{text}")
        report = json.loads(text)
        return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "peak": usage.ru_maxrss / 1024, "report": report}


def show(name, rows, runs):
    middle = {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "peak")}
    print(f"{name:34} {middle['wall']:8.2f} {rows / middle['wall']:12,.0f} {middle['cpu']:8.2f} {middle['peak']:9.0f}", flush=True)
    return middle


def parquet(directory, binary, rows, rounds):
    runs = []
    for number in range(rounds):
        project = Project(directory / f"parquet-{rows}-{number}", binary, "*.parquet", "")
        for first in range(0, rows, FILE_ROWS):
            table = orders(first, min(FILE_ROWS, rows - first))
            pyarrow.parquet.write_table(table, project.directory / f"data/{first:09}.parquet", compression="zstd")
        project.run("extract")
        runs.append(project.run("copy"))
        loaded = runs[-1]["report"]["tables"][0]["rows_loaded"]
        if loaded != rows:
            sys.exit(f"{loaded} rows were loaded of {rows}")
    return show(f"Parquet, {rows:,} rows", rows, runs)


def csv(directory, binary, rows, bad, rounds):
    """CSV of which every hundredth row has a word for its amount, or none."""
    runs = []
    options = 'on_error = "continue"\ncolumns = { id = "bigint", user_id = "bigint", status = "text", amount = "decimal(12,2)", note = "text" }'
    for number in range(rounds):
        project = Project(directory / f"csv-{bad}-{number}", binary, "*.csv", options)
        with open(project.directory / "data/orders.csv", "w", encoding="utf-8") as file:
            file.write("id,user_id,status,amount,note\n")
            for n in range(rows):
                amount = "unknown" if bad and n % 100 == 0 else f"{n % 100_000}.{n % 100:02}"
                file.write(f'{n},{n * 7919 % 200_000},paid,{amount},"note {n}, {"lorem ipsum " * (n % 4)}"\n')
        project.run("extract")
        runs.append(project.run("copy"))
        rejected = runs[-1]["report"]["tables"][0]["rows_rejected"]
        if rejected != (rows // 100 if bad else 0):
            sys.exit(f"{rejected} rows were rejected")
    return show(f"CSV, {rows:,} rows{', 1 % bad' if bad else ''}", rows, runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default=os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), type=pathlib.Path)
    parser.add_argument("--rows", default=10_000_000, type=int)
    parser.add_argument("--csv-rows", default=2_000_000, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    arguments = parser.parse_args()
    binary = arguments.target / "release/montauk"
    if not binary.exists():
        sys.exit(f"{binary} is missing: cargo build --release --workspace")
    print(f"{'copy':34} {'wall s':>8} {'rows/s':>12} {'CPU-s':>8} {'peak MiB':>9}")
    with tempfile.TemporaryDirectory(prefix="montauk-bench-") as name:
        directory = pathlib.Path(name)
        small = parquet(directory, binary, arguments.rows // 10, arguments.rounds)
        large = parquet(directory, binary, arguments.rows, 1)
        print(f"ten times the rows: wall {large['wall'] / small['wall']:.1f}, CPU {large['cpu'] / small['cpu']:.1f}\n")
        clean = csv(directory, binary, arguments.csv_rows, False, arguments.rounds)
        bad = csv(directory, binary, arguments.csv_rows, True, arguments.rounds)
        print(f"with bad rows / clean: wall {bad['wall'] / clean['wall']:.2f}, CPU {bad['cpu'] / clean['cpu']:.2f}")


if __name__ == "__main__":
    main()
