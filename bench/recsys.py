"""Prints the quality and the processor seconds of Montauk's recommenders beside the peers', on one machine in one run.

Usage: .venv-bench/bin/python bench/recsys.py --shared DIR [--target DIR] [--only PART,...]
DIR (or MONTAUK_SHARED) holds what the repository must not: `data/splits`, `data/ml-1m`, `data/ml-100k` and the peers' scripts `bench/recsys`.
Parts, short ones first: retrieval sql quality sequence speed neighbours growth ease.  `ease` takes minutes and 3 GB.
Needs a release build of recommend's examples (`make bench-recsys` makes it). Nothing is asserted about time.
"""

import argparse
import csv
import gzip
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy

import sql_recommender
from run import ROOT, machine

# The blend of 2.10: chosen on the item before the last of each user, never on the last.
BLEND = {"parts": [
    {"kind": "ease", "weight": 0.5, "parameters": {"lambda": 300, "recency": 12, "max_history": 100000}},
    {"kind": "sequence", "weight": 0.5, "parameters": {
        "window": 3, "same_step": 1, "history_exponent": 0.7, "target_exponent": 0.2, "recency": 1, "neighbours": 500}},
]}
EASE = {"lambda": 300, "max_history": 100000}

# Title, what our example is given, what the peers' script is given.
ML1M = [
    ("EASE, lambda 500", ["ease"], None),
    ("iALS, d 64", ["ials"], None),
    ("iALS, d 128", ["ials", "factors=128", "alpha=1", "lambda=0.002", "epochs=10"], None),
    ("item-kNN, K 200, a .6", ["item_knn"], None),
    ("LLR, K 50", ["llr"], None),
    ("RP3beta", ["rp3beta"], None),
    ("popularity", ["popularity"], None),
    ("implicit ALS-CG, d 64, alpha 2, reg 20", None, ["als_cg", "d=64", "alpha=2", "reg=20", "it=15"]),
    ("implicit ALS-CG, d 128, alpha 2, reg 20", None, ["als_cg", "d=128", "alpha=2", "reg=20", "it=15"]),
    ("implicit cosine, K 200", None, ["imp_cos", "k=200"]),
    ("reference EASE, f64, lambda 500", None, ["ease", "lam=500"]),
    ("reference item-kNN, K 200, a .6", None, ["cos", "k=200", "a=.6"]),
]
RETAIL = [
    ("EASE, lambda 200", ["ease"], None),
    ("iALS, d 64", ["ials"], None),
    ("item-kNN, K 200, a .5", ["item_knn"], None),
    ("LLR, K 50", ["llr"], None),
    ("RP3beta", ["rp3beta"], None),
    ("popularity", ["popularity"], None),
    ("implicit ALS-CG, d 64, alpha 2, reg 5", None, ["als_cg", "d=64", "alpha=2", "reg=5", "it=15"]),
    ("implicit ALS-CG, d 64, alpha 10, reg 5", None, ["als_cg", "d=64", "alpha=10", "reg=5", "it=15"]),
    ("reference EASE, f64, lambda 200", None, ["ease", "lam=200"]),
]


class Bench:
    """Where everything lies, and how programs are run: on one thread unless they are told otherwise."""

    def __init__(self, target, shared, directory):
        self.examples, self.shared, self.directory = target / "release/examples", shared, directory
        self.peers, self.splits = shared / "bench/recsys", shared / "data/splits"
        self.matrix = directory / "synthetic.npz"

    def run(self, command, threads=1):
        """The lines of standard output. Rayon and BLAS are told how many threads, peers also by their options."""
        counts = dict.fromkeys(("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        environment = os.environ | counts | {"MONTAUK_DATA": str(self.shared / "data")}
        done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
        return done.stdout.splitlines()

    def example(self, name, *arguments, threads=1):
        """The table that one of our examples prints, a dictionary per row."""
        lines = [line.split() for line in self.run([self.examples / name, *arguments], threads)]
        return [dict(zip(header(name), line)) for line in lines[1:]]

    def peer(self, script, *arguments, threads=1):
        """What a script of the peers prints as JSON, a dictionary per line."""
        lines = self.run([sys.executable, self.peers / script, *arguments, "--threads", threads], threads)
        return [json.loads(line) for line in lines if line.startswith("{")]

    def synthetic(self, *arguments, threads=1):
        """One job of the peers on the synthetic matrix, which is made when it is first needed."""
        if not self.matrix.exists():
            self.run([sys.executable, self.peers / "speed_scale.py", "gen", self.matrix])
        return self.peer("speed_scale.py", "run", self.matrix, *arguments, threads=threads)[0]


def header(example):
    """Names of the columns of our examples, which may hold spaces themselves."""
    if example == "splits":
        return ["set", "split", "kind", "users", "R@20", "R@50", "N@100", "HR@10", "N@10", "cov@20", "CPU s", "p50", "p99"]
    return ["kind", "pairs", "users", "items", "d", "threads", "CPU s", "wall s", "ns", "MiB", "user us", "hash"]


def table(title, columns, rows):
    """A table in Markdown, printed as soon as it is known."""
    print(f"\n{title}\n\n| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def digits(value):
    return f"{float(value):.4f}"


def strong(bench, name, models):
    """Strong generalisation: users of whom training saw nothing."""
    def rows():
        for title, ours, theirs in models:
            if ours:
                kind, *changed = ours
                options = [word for parameter in changed for word in ("--with", parameter)]
                row = bench.example("splits", bench.splits, name, "--split", "strong", "--kind", kind, *options)[0]
                yield title, digits(row["R@20"]), digits(row["N@100"]), row["CPU s"]
            else:
                row = bench.peer("baselines.py", "run", name, "a", *theirs, "rep=3")[0]
                yield title, digits(row["R20"]), digits(row["N100"]), row["cpu_s"]
    return rows()


def quality(bench):
    columns = ["one thread", "R@20", "N@100", "CPU s"]
    table("ML-1M, strong generalisation, 1,000 users", columns, strong(bench, "ml1m", ML1M))
    table("Online Retail, strong generalisation, 500 users", columns, strong(bench, "or", RETAIL))


def write_leave_last_out(shared, directory):
    """Two splits of MovieLens' users whose times are known: `test` holds out each user's last item, `valid` the one before."""
    folder = shared / "data/ml-1m"
    with gzip.open(folder / "ratings_users_1_2999.csv.gz", "rt") as file:
        events = [(int(row["u"]), int(row["i"]), int(row["ts"])) for row in csv.DictReader(file)]
    with open(folder / "leave_last_out_test.csv", encoding="utf-8") as file:
        last = {int(row["u"]): int(row["i"]) for row in csv.DictReader(file)}
    known = [event for event in events if last[event[0]] != event[1]]
    # The newest of each user; of equal times the one that stands last in the file, as in the peers' script.
    before = {user: item for user, item, _ in sorted(known, key=lambda event: (event[0], event[2]))}
    earlier = [event for event in known if before[event[0]] != event[1]]
    users = {event[0] for event in events}
    for name, train, held in (("test", known, last), ("valid", earlier, before)):
        write_csv(directory / f"{name}_lastout_train.csv.gz", ["u", "i", "ts"], train)
        write_csv(directory / f"{name}_lastout_test.csv.gz", ["u", "i"], [(u, i) for u, i in held.items() if u in users])


def write_csv(path, names, rows):
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)


def sequence(bench):
    write_leave_last_out(bench.shared, bench.directory)
    models = [
        ("EASE", "ease", EASE),
        ("EASE, recency 12", "ease", EASE | {"recency": 12}),
        ("EASE and sequence, blended", "blend", BLEND),
    ]

    def rows():
        for split in ("valid", "test"):
            for title, kind, parameters in models:
                given = ["--kind", kind, "--parameters", json.dumps(parameters)]
                row = bench.example("splits", bench.directory, split, "--split", "last", *given)[0]
                yield f"{title}, {split}", row["users"], digits(row["HR@10"]), digits(row["N@10"]), row["CPU s"]
        for line in bench.run([sys.executable, bench.peers / "sequential.py", "ml1m_half"]):
            if line.startswith(("EASE", "blend")):
                name, rest = line.split(" HR10 ")
                yield f"reference: {name}, test", "", rest.split()[0], rest.split()[2], ""

    table("ML-1M users 1-2999, leave last out", ["one thread", "users", "HR@10", "N@10", "CPU s"], rows())


def speed(bench):
    """iALS at ten million interactions: ours sweep by sweep, exact; the peer's epoch takes three steps of conjugate gradients."""
    def rows():
        for d in (64, 128):
            for row in bench.example("scale", "--millions", "10", "--threads", "1,2", "--with", f"factors={d}", threads=2):
                yield f"iALS, d {d}", row["threads"], row["CPU s"], row["MiB"]
            for threads in (1, 2):
                row = bench.synthetic(f"als_cg_{d}_2", threads=threads)
                yield f"implicit ALS-CG, d {d}", threads, row["per_iter_cpu_s"], row["peak_mb"] - row["base_mb"]

    table("10 million interactions, one sweep", ["", "threads", "CPU s", "+MiB"], rows())


def neighbours(bench):
    def rows():
        given = ["--kind", "item_knn", "--millions", "10", "--threads", "1,2", "--with", "neighbours=100"]
        for row in bench.example("scale", *given, threads=2):
            yield "item-kNN, K 100", row["threads"], row["CPU s"], row["MiB"]
        for threads in (1, 2):
            row = bench.synthetic("impcos", threads=threads)
            yield "implicit cosine, K 100", threads, row["cpu_s"], row["peak_mb"] - row["base_mb"]

    table("10 million interactions, neighbours", ["", "threads", "CPU s", "+MiB"], rows())


def growth(bench):
    rows = bench.example("scale", "--millions", "1,10,50", "--threads", "2", threads=2)
    cells = ((row["pairs"], row["CPU s"], row["ns"], row["MiB"]) for row in rows)
    table("iALS, d 64, 2 threads: cost by size", ["interactions", "CPU s a sweep", "ns each", "+MiB"], cells)


def ease(bench):
    def rows():
        given = ["--kind", "ease", "--millions", "10", "--threads", "2"]
        for row in bench.example("scale", *given, threads=2):
            yield "EASE", row["CPU s"], row["wall s"], row["MiB"]
        row = bench.synthetic("ease", threads=2)
        yield "reference EASE, f32, LAPACK", row["cpu_s"], row["wall_s"], row["peak_mb"] - row["base_mb"]

    table("EASE of 20,108 items, 2 threads", ["", "CPU s", "s", "+MiB"], rows())


def factors(items, d):
    """Factors with norms as skewed as those of trained models, and 64 queries; as in the peers' retrieval.py."""
    random = numpy.random.default_rng(0)
    rows = random.standard_normal((items, d), dtype=numpy.float32) * numpy.float32(d ** -0.5)
    rows *= (0.3 + random.exponential(0.7, size=(items, 1))).astype(numpy.float32)
    return rows, random.standard_normal((64, d), dtype=numpy.float32)


def milliseconds(work, rounds=200):
    """The least and the median over calls, with a query each."""
    times = []
    for number in range(rounds):
        started = time.perf_counter()
        work(number % 64)
        times.append((time.perf_counter() - started) * 1e3)
    return f"{min(times):.3f}", f"{numpy.median(times):.3f}"


def retrieval(bench):
    """The best 100 by inner product, one query at a time on one thread."""
    import faiss
    faiss.omp_set_num_threads(1)

    def rows():
        for items, d in ((1_000, 64), (10_000, 64), (100_000, 64), (100_000, 128), (1_000_000, 64)):
            matrix, queries = factors(items, d)
            files = bench.directory / "factors.f32", bench.directory / "queries.f32"
            matrix.tofile(files[0])
            queries.tofile(files[1])
            for line in bench.run([bench.examples / "retrieval", *files, d, 100]):
                yield f"{items:,} x {d}", *line.split("\t")
            flat, half = faiss.IndexFlatIP(d), faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
            flat.add(matrix)
            half.train(matrix[:10_000])
            half.add(matrix)
            for name, index in (("faiss flat", flat), ("faiss fp16", half)):
                yield f"{items:,} x {d}", name, *milliseconds(lambda i: index.search(queries[i:i + 1], 100))

    table("best 100, one thread, ms", ["items", "", "least", "median"], rows())


def sql(bench):
    """The same recommendation where the data lives: statements of the how-to beside the kernels."""
    ratings = bench.shared / "data/ml-100k/u.data"
    rows = sql_recommender.compare(bench.examples.parent / "montauk", ratings, bench.directory)
    table("MovieLens 100k, SQL beside kernels", ["", "CPU s in SQL", "CPU s in memory", "compared", "largest relative difference"], rows)


PARTS = {"retrieval": retrieval, "sql": sql, "quality": quality, "sequence": sequence, "speed": speed, "neighbours": neighbours, "growth": growth, "ease": ease}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default=os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), type=pathlib.Path)
    parser.add_argument("--shared", default=os.environ.get("MONTAUK_SHARED") or None, type=pathlib.Path)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, by commas, of: {' '.join(PARTS)}")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"no part `{unknown.pop()}`; there are: {' '.join(PARTS)}")
    if arguments.shared is None:
        sys.exit("no data: --shared DIR or MONTAUK_SHARED must name a directory with data/splits, data/ml-1m, data/ml-100k and bench/recsys")
    needed = [arguments.shared / name for name in ("data/splits", "data/ml-1m", "data/ml-100k", "bench/recsys/baselines.py")]
    needed += [arguments.target / "release" / name for name in ("montauk", "examples/splits", "examples/scale", "examples/retrieval")]
    if missing := [str(path) for path in needed if not path.exists()]:
        sys.exit(f"missing: {', '.join(missing)}")
    print(time.strftime("%Y-%m-%d"), machine(), flush=True)
    with tempfile.TemporaryDirectory(prefix="montauk-bench-") as name:
        bench = Bench(arguments.target, arguments.shared, pathlib.Path(name))
        for part, measure in PARTS.items():
            if part not in wanted:
                continue
            # Of its own: a program inherits the peak of resident memory from the process that starts it.
            process = multiprocessing.get_context("fork").Process(target=measure, args=(bench,))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(f"`{part}` failed")


if __name__ == "__main__":
    main()
