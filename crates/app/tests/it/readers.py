"""Reads a mart the way other tools do: the `deltalake` package reads the table, `duckdb` reads the files that it lists.

Usage: readers.py TABLE_DIRECTORY VERSION QUERY
QUERY names the table `t`. Prints one JSON object: the answers of both, as lists of rows of text.
"""

import json
import sys

import duckdb
from deltalake import DeltaTable


def rows(connection, query):
    return [[None if cell is None else str(cell) for cell in row] for row in connection.execute(query).fetchall()]


def main():
    directory, version, query = sys.argv[1:]
    table = DeltaTable(directory, version=int(version))
    whole = duckdb.connect()
    whole.register("t", table.to_pyarrow_table())
    files = duckdb.connect()
    files.execute("create view t as select * from read_parquet(?)" .replace("?", repr(table.file_uris())))
    print(json.dumps({"deltalake": rows(whole, query), "duckdb": rows(files, query)}))


if __name__ == "__main__":
    main()
