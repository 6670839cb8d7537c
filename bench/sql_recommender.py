"""The statements of docs/how-to/a-recommender-in-30-lines-of-sql.md beside the kernels in memory, on MovieLens 100k.

In: the release binary, `u.data` of MovieLens 100k, the page.  Out: rows for the table of `bench/recsys.py`: CPU seconds of both, and how far
what they made is apart.  The project is made anew in a directory that is given.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy

from run import ROOT

PAGE = ROOT / "docs/how-to/a-recommender-in-30-lines-of-sql.md"
# Every rating counts: no history is cut, in SQL or in memory.
LONGEST = 10_000
EPOCHS = 3
FACTORS = 16
# Of `als_init` on the page.
SEED = "42"

FILES = {
    "montauk.toml": '[project]\nname = "ml100k"\n',
    "sources/ml.toml": 'kind = "file"\n\n[tables.ratings]\npath = "data/ratings.csv"\ninto = "raw.ratings"\n\n[tables.ratings.copy]\n'
        'columns = { user_id = "text", item_id = "text", rating = "bigint", seconds = "bigint" }\n',
    "models/marts/interactions.sql": "-- One row per rating.\n-- materialized: table      grain: user_id, item_id\n"
        "select user_id, item_id, to_timestamp_seconds(seconds) as occurred_at, cast(1 as double) as weight,\n"
        "  user_id || '/' || item_id as basket_id\nfrom raw.ratings\n",
    "recommenders/item_knn.toml": 'kind = "item_knn"\ninteractions = "marts.interactions"\n\n[parameters]\nneighbours = 200\nexponent = 0.5\n'
        f"shrink = 0\nmax_history = {LONGEST}\n",
    "recommenders/llr.toml": f'kind = "llr"\ninteractions = "marts.interactions"\n\n[parameters]\nneighbours = 50\nmax_history = {LONGEST}\n',
    "recommenders/ials.toml": f'kind = "ials"\ninteractions = "marts.interactions"\n\n[parameters]\nfactors = {FACTORS}\nepochs = {EPOCHS}\n'
        f"alpha = 0.2\nlambda = 0.005\nnu = 1.0\nmax_history = {LONGEST}\n",
}


def models():
    """The models of the page: its blocks that begin with the name of a file."""
    blocks = re.findall(r"```sql\n(-- models/(\S+)\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return {name: sql for sql, name in blocks}


def write(project, ratings):
    page = models()
    x = page["rec/x.sql"].replace("newness <= 500", f"newness <= {LONGEST}")
    similar = page["rec/similar_items.sql"]
    llr = similar.replace("'cosine'", "'llr'").replace("s > 0", "s >= 3.84").replace("place <= 200", "place <= 50")
    files = FILES | {"models/rec/x.sql": x, "models/rec/similar_items.sql": similar, "models/rec/likely_items.sql": llr}
    files["models/als/v0.sql"] = page["als/v0.sql"]
    for n in range(1, EPOCHS + 1):
        files[f"models/als/u{n}.sql"] = page["als/u1.sql"].replace("als.v0", f"als.v{n - 1}")
        files[f"models/als/v{n}.sql"] = page["als/v1.sql"].replace("als.u1", f"als.u{n}")
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (project / "data").mkdir()
    with open(project / "data/ratings.csv", "w", encoding="utf-8") as file:
        file.write("user_id,item_id,rating,seconds\n")
        file.writelines(",".join(line.split()) + "\n" for line in ratings.read_text(encoding="ascii").splitlines())


def montauk(binary, project, *arguments):
    """Standard output, and the CPU seconds that it took, by the kernel's account."""
    with subprocess.Popen([binary, "-C", project, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        out, said = child.stdout.read(), child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"montauk {' '.join(arguments)} failed:\n{said}")
    return out, usage.ru_utime + usage.ru_stime


def select(binary, project, tables):
    _, seconds = montauk(binary, project, "build", *(word for table in tables for word in ("-s", table)))
    return seconds


def tensors(artefact):
    """`model.safetensors`: a length, a JSON header, little-endian numbers."""
    data = (artefact / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    kinds = {"F32": numpy.float32, "U32": numpy.uint32}
    found = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            numbers = numpy.frombuffer(data[8 + length + start:8 + length + end], kinds[entry["dtype"]])
            found[name] = numbers.reshape(entry["shape"])
    return found, json.loads((artefact / "items.json").read_text(encoding="utf-8"))


def neighbours_apart(binary, project, table, artefact):
    """Pairs of both, those that only one has, and the largest relative difference of a similarity."""
    found, items = tensors(artefact)
    offsets, targets, similarities = found["offsets"], found["targets"], found["similarities"]
    kernel = {(items[i], items[targets[place]]): float(similarities[place])
              for i in range(len(items)) for place in range(offsets[i], offsets[i + 1])}
    out, _ = montauk(binary, project, "query", f"select i, j, s from {table}", "--format", "csv")
    rows = (line.split(",") for line in out.splitlines()[1:])
    sql = {(i, j): float(s) for i, j, s in rows}
    both = kernel.keys() & sql.keys()
    apart = max(abs(kernel[pair] - sql[pair]) / abs(sql[pair]) for pair in both)
    return f"{len(both):,} pairs, {len(kernel.keys() ^ sql.keys()):,} at an edge", apart


def factors_apart(binary, project, artefact):
    found, items = tensors(artefact)
    query = f"select item_id, array_to_string(f, ' ') as f from als.v{EPOCHS}"
    out, _ = montauk(binary, project, "query", query, "--format", "csv")
    sql = {line.split(",")[0]: numpy.array(line.split(",")[1].split(), dtype=float) for line in out.splitlines()[1:]}
    apart = max(numpy.linalg.norm(sql[item] - row) / numpy.linalg.norm(sql[item]) for item, row in zip(items, found["item_factors"]))
    return f"{len(sql):,} factors", float(apart)


def compare(binary, ratings, directory):
    """Rows: what, CPU seconds of SQL, CPU seconds of the kernel, what was compared, the largest relative difference."""
    project = pathlib.Path(directory) / "ml100k"
    write(project, ratings)
    for step in ("extract", "copy"):
        montauk(binary, project, step)
    select(binary, project, ["+rec.x"])
    als = [f"als.{side}{n}" for n in range(EPOCHS + 1) for side in "uv" if (side, n) != ("u", 0)]
    jobs = [("item-kNN, K 200", "item_knn", ["rec.similar_items"]), ("LLR, K 50", "llr", ["rec.likely_items"]),
            (f"iALS, d {FACTORS}, {EPOCHS} epochs", "ials", als)]
    for title, kind, tables in jobs:
        in_sql = select(binary, project, tables)
        _, in_memory = montauk(binary, project, "train", kind, "--seed", SEED)
        artefact, = (path for path in (project / ".montauk/artefacts").iterdir() if path.name.startswith(f"{kind}-"))
        what, apart = (factors_apart(binary, project, artefact) if kind == "ials"
                       else neighbours_apart(binary, project, tables[0], artefact))
        yield title, f"{in_sql:.2f}", f"{in_memory:.2f}", what, f"{apart:.1e}"
