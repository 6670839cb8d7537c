#!/usr/bin/env python3
"""Recreates `data/YYYY-MM.csv.gz` from the public Online Retail file. Nothing is downloaded.

In: the file of UCI set 352 as published (`Online Retail.xlsx`, needs openpyxl) or the same rows as Parquet (needs pyarrow).
Out: one gzip file per month, rows in the order of the original. The same input gives the same bytes.
What changes: form only. Text stays as it is, a missing value is an empty field, CustomerID is written as an integer,
a price as the shortest decimal that reads back as the same number, a time as `YYYY-MM-DD HH:MM:SS`.

    python3 make_data.py "Online Retail.xlsx" [OUTPUT_DIRECTORY]
"""

import csv
import datetime
import decimal
import gzip
import io
import math
import pathlib
import sys

COLUMNS = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
PUBLISHED_ROWS = 541_909


def read_xlsx(path):
    """Yields the rows of the first sheet, columns in the order of COLUMNS."""
    import openpyxl

    sheet = openpyxl.load_workbook(path, read_only=True).worksheets[0]
    rows = sheet.iter_rows(values_only=True)
    header = list(next(rows))
    order = [header.index(name) for name in COLUMNS]
    for row in rows:
        yield [row[position] for position in order]


def read_parquet(path):
    """Yields the rows of a Parquet file, columns in the order of COLUMNS."""
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=COLUMNS):
        yield from zip(*(batch.column(name).to_pylist() for name in COLUMNS))


def is_missing(value):
    return value is None or (isinstance(value, float) and math.isnan(value))


def as_text(value):
    """Text as it is; the workbook holds some codes as numbers, which are whole."""
    if is_missing(value):
        return ""
    return str(int(value)) if isinstance(value, float) else str(value)


def as_integer(value):
    if is_missing(value):
        return ""
    if value != int(value):
        raise SystemExit(f"`{value}` is not a whole number")
    return str(int(value))


def as_decimal(value):
    """The shortest decimal that reads back as the same 64-bit number, without exponent: 2.55, 0.001, 4."""
    text = format(decimal.Decimal(repr(float(value))).normalize(), "f")
    if float(text) != float(value):
        raise SystemExit(f"`{value}` does not survive as `{text}`")
    return text


def as_time(value):
    """Workbook times are rounded to the second, because a spreadsheet keeps them as fractions of a day."""
    if isinstance(value, datetime.datetime):
        value = (value + datetime.timedelta(microseconds=500_000)).replace(microsecond=0).isoformat(sep=" ")
    datetime.datetime.strptime(value, "%Y-%m-%d %H:%M:%S")
    return value


FORMS = [as_text, as_text, as_text, as_integer, as_time, as_decimal, as_integer, as_text]


def write_month(path, rows):
    """Writes one month; no name and no time in the gzip header, so that equal rows give equal bytes."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    with open(path, "wb") as file, gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
        packed.write(text.getvalue().encode("utf-8"))


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    source = pathlib.Path(sys.argv[1])
    target = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else pathlib.Path(__file__).parent / "data"
    read = read_xlsx if source.suffix == ".xlsx" else read_parquet
    months = {}
    for row in read(source):
        cells = [form(value) for form, value in zip(FORMS, row)]
        months.setdefault(cells[4][:7], []).append(cells)
    total = sum(map(len, months.values()))
    if total != PUBLISHED_ROWS:
        raise SystemExit(f"{source} has {total} rows; the published file has {PUBLISHED_ROWS}")
    target.mkdir(parents=True, exist_ok=True)
    for month, rows in sorted(months.items()):
        write_month(target / f"{month}.csv.gz", rows)
        print(f"{month}.csv.gz  {len(rows):>7,} rows")
    print(f"{len(months)} files  {total:,} rows")


if __name__ == "__main__":
    main()
