"""Repeats the conversion of the Open Bandit sample: python3 make_data.py DIR, where DIR has random/ and bts/ with all/, men/ and women/.

Keeps the logged decisions and the user's attributes, drops the affinities (all zero but a few, and 80 columns wide), writes one gzip file
per policy and campaign with an equal header and no time stamp of today in it.
"""

import csv
import gzip
import io
import pathlib
import sys

KEPT = ["timestamp", "item_id", "position", "click", "propensity_score", "user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3"]
HERE = pathlib.Path(__file__).parent


def rows(path):
    packed = path.with_name(path.name + ".gz")
    with gzip.open(packed, "rt", newline="") if packed.exists() else open(path, newline="") as file:
        yield from csv.DictReader(file)


for policy in ("random", "bts"):
    for campaign in ("all", "men", "women"):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["policy", "campaign", "row", *KEPT])
        for number, row in enumerate(rows(pathlib.Path(sys.argv[1]) / policy / campaign / f"{campaign}.csv")):
            # `2019-11-24 00:00:34.762830+00:00`: the offset is always UTC, and is not written.
            row["timestamp"] = row["timestamp"].removesuffix("+00:00")
            writer.writerow([policy, campaign, number, *(row[name] for name in KEPT)])
        with open(HERE / "data" / f"{policy}-{campaign}.csv.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
            packed.write(text.getvalue().encode())
