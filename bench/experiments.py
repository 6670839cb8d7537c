"""Prints the speed and the figures of Montauk's experiments beside the peers', on one machine in one run.

Usage: .venv-bench/bin/python bench/experiments.py [--target DIR] [--shared DIR] [--only PART,...]
Parts: evaluation analysis agreement cats interleaving peeking.  `cats` needs DIR (or MONTAUK_SHARED) with data/cookie-cats, which the repository must
not hold; what is missing is named.  `make bench-experiments` builds what it needs. Times are processor seconds; nothing is asserted about them.
"""

import argparse
import gzip
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy
from scipy import stats

from run import ROOT, machine

UNIT = {"id": "5d1fa2c8-user-1234", "country": "DE", "age": 31, "plan": "pro", "version": "2.10.3", "tags": ["a", "b"], "email": "a@example.com"}
ARMS = {"key": "e", "seed": "s", "hashVersion": 2, "variations": ["control", "treatment"], "weights": [0.5, 0.5], "meta": [{"key": "control"}, {"key": "treatment"}]}
TARGET = {"country": {"$in": ["DE", "FR", "AT"]}, "age": {"$gte": 18}, "plan": "pro"}
LAYER = {"seed": "layer", "ranges": [[0, 1]], "hashVersion": 2}
# The same experiment in both forms: half and half; then for some countries, ages and plans, inside a layer.
CASES = {
    "simple": ({}, []),
    "targeted, in a layer": ({"condition": TARGET, "filters": [LAYER]}, [
        {"attribute": "country", "operator": "ONE_OF", "value": ["DE", "FR", "AT"]},
        {"attribute": "age", "operator": "GTE", "value": 18},
        {"attribute": "plan", "operator": "ONE_OF", "value": ["pro"]},
    ]),
}


def growthbook(extra):
    return {"payload": {"features": {"f": {"defaultValue": "off", "rules": [ARMS | extra]}}}, "attributes": UNIT, "feature": "f"}


def eppo(conditions):
    def split(arm, start):
        shards = [{"salt": "s", "ranges": [{"start": start, "end": start + 5000}]}]
        if conditions:
            shards.append({"salt": "layer", "ranges": [{"start": 0, "end": 10000}]})
        return {"variationKey": arm, "shards": shards}

    allocation = {"key": "a", "splits": [split("control", 0), split("treatment", 5000)], "rules": [{"conditions": conditions}] if conditions else []}
    flag = {"key": "f", "enabled": True, "variationType": "STRING", "totalShards": 10000, "allocations": [allocation],
            "variations": {arm: {"key": arm, "value": arm} for arm in ("control", "treatment")}}
    attributes = {name: value for name, value in UNIT.items() if name != "tags"}
    flags = {"createdAt": "2026-01-01T00:00:00Z", "format": "SERVER", "environment": {"name": "test"}, "flags": {"f": flag}}
    return {"flags": flags, "attributes": attributes, "feature": "f", "unit": UNIT["id"]}


def cpu(command, given=None):
    """Processor seconds of a program, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(word) for word in command], input=given, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def per_round(command, rounds):
    """Nanoseconds of a round: a long run minus an empty one, the least of three; and the answer."""
    seconds, answer = [], ""
    for _ in range(3):
        empty, _ = cpu([*command, 0])
        full, answer = cpu([*command, rounds])
        seconds.append((full - empty) / rounds)
    value = json.loads(answer)
    return 1e9 * min(seconds), json.dumps(value["value"] if isinstance(value, dict) else value)


def in_python(case, rounds):
    from growthbook import GrowthBook
    book = GrowthBook(attributes=case["attributes"], features=case["payload"]["features"])
    book.eval_feature("f")
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(rounds):
            result = book.eval_feature("f")
        seconds.append((time.process_time() - start) / rounds)
    return 1e9 * min(seconds), json.dumps(result.value)


def table(*columns):
    print(f"\n{columns[0]:<62}" + "".join(f"{name:>22}" for name in columns[1:]))


def row(name, *cells):
    print(f"{name:<62}" + "".join(f"{cell:>22}" for cell in cells))


def evaluation(bench):
    table("evaluation, ns of CPU", "ns", "times ours", "value")
    for name, (extra, conditions) in CASES.items():
        files = {}
        for form, case in (("growthbook", growthbook(extra)), ("eppo", eppo(conditions))):
            files[form] = bench.directory / f"{form}.json"
            files[form].write_text(json.dumps(case))
        ours, value = per_round([bench.example("evaluation_speed"), files["growthbook"]], 5_000_000)
        row(f"{name}: Montauk", f"{ours:.0f}", "1.0", value)
        if bench.eppo.exists():
            peer, value = per_round([bench.eppo, files["eppo"]], 1_000_000)
            row(f"{name}: eppo_core 10.0.0", f"{peer:.0f}", f"{peer / ours:.1f}", value)
        else:
            print(f"{name}: eppo_core is not built ({bench.eppo})")
        if (ROOT / "sdks/differential/node_modules").exists():
            peer, value = per_round(["node", ROOT / "bench/evaluate_growthbook.mjs", files["growthbook"]], 1_000_000)
            row(f"{name}: GrowthBook JavaScript 1.8.0", f"{peer:.0f}", f"{peer / ours:.1f}", value)
        else:
            print(f"{name}: run `npm ci` in sdks/differential for GrowthBook's JavaScript SDK")
        peer, value = in_python(growthbook(extra), 20_000)
        row(f"{name}: GrowthBook Python 4.0.0", f"{peer:.0f}", f"{peer / ours:.1f}", value)


def moments(values):
    return {"n": len(values), "sum": float(values.sum()), "sum_squares": float((values * values).sum())}


def timed(work, rounds=3):
    work()
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return min(seconds)


def analysis(bench):
    """100 metrics × 2 variants from sufficient statistics. Peers compute one test of plain means; ours all of them, and those of four other kinds."""
    ours = min((cpu([bench.example("analysis_speed")])[0] / 102 for _ in range(3)))
    table("100 metrics x 2 variants, ms of CPU", "ms", "times ours", "goal")
    row("Montauk: all analyses of five kinds of metrics", f"{1e3 * ours:.2f}", "1.0", "5")
    generator = numpy.random.default_rng(1)
    pairs = [(generator.normal(14, 10, 2000), generator.normal(14.3, 10, 2000)) for _ in range(100)]
    arms = [[(len(arm), arm.mean(), arm.var(ddof=1)) for arm in pair] for pair in pairs]

    def scipy():
        for (n, mean, variance), (m, other, deviation) in arms:
            stats.ttest_ind_from_stats(other, deviation ** 0.5, m, mean, variance ** 0.5, n, equal_var=False)

    def tasting():
        from tea_tasting import Mean
        from tea_tasting.aggr import Aggregates
        metric = Mean("y")
        for control, treatment in arms:
            found = [Aggregates(count_=n, mean_={"y": mean}, var_={"y": variance}) for n, mean, variance in (control, treatment)]
            metric.analyze_aggregates(*found)

    def gbstats():
        from gbstats.frequentist.tests import FrequentistConfig, TwoSidedTTest
        from gbstats.models.statistics import SampleMeanStatistic
        for pair in pairs:
            found = [SampleMeanStatistic(**moments(arm)) for arm in pair]
            TwoSidedTTest(*found, FrequentistConfig()).compute_result()

    peers = [("scipy: Welch's t, p only", scipy), ("tea-tasting 1.14.0: Welch's t, lift and intervals", tasting), ("gbstats 0.8.0: t test of the lift", gbstats)]
    for name, work in peers:
        try:
            seconds = timed(work)
        except ImportError as error:
            print(f"{name}: not measured, {error}")
            continue
        row(name, f"{1e3 * seconds:.2f}", f"{seconds / ours:.1f}", "")


def compare(bench, cases):
    lines = "\n".join(json.dumps(case) for case in cases)
    return [json.loads(line) for line in cpu([bench.example("compare_arms")], lines)[1].splitlines()]


def agreement(bench):
    """Ours from sums, scipy from the values themselves."""
    generator = numpy.random.default_rng(2)
    pairs = []
    for number in range(500):
        sizes = generator.integers(20, 3000, 2)
        draw = [lambda n: generator.normal(14, 10, n), lambda n: generator.lognormal(1, 1.5, n), lambda n: (generator.random(n) < 0.2).astype(float)][number % 3]
        pairs.append((draw(sizes[0]), draw(sizes[1]) * (1 + 0.1 * (number % 7 == 0))))
    found = compare(bench, [{"kind": "mean", "control": moments(a), "treatment": moments(b)} for a, b in pairs])
    truth = [stats.ttest_ind(b, a, equal_var=False) for a, b in pairs]
    p = [abs(one["absolute"]["p_value"] / other.pvalue - 1) for one, other in zip(found, truth)]
    ends = [abs(one["absolute"]["lower"] - other.confidence_interval().low) / abs(other.confidence_interval().high - other.confidence_interval().low)
            for one, other in zip(found, truth)]
    table("500 pairs of samples, Welch", "largest difference")
    row("p beside scipy, relative", f"{max(p):.1e}")
    row("lower end beside scipy, in widths of the interval", f"{max(ends):.1e}")
    least = min(other.pvalue for other in truth)
    row("least p among them", f"{least:.1e}")


def cats(bench):
    """Cookie Cats: players of a mobile game, a gate at level 30 or 40."""
    from statsmodels.stats.proportion import proportions_ztest
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW
    path = bench.shared and bench.shared / "data/cookie-cats/cookie_cats.csv.gz"
    if not path or not path.exists():
        print("\ncats: not measured, MONTAUK_SHARED has no data/cookie-cats")
        return
    with gzip.open(path, "rt") as file:
        lines = [line.strip().split(",") for line in file][1:]
    arms = {gate: [line for line in lines if line[1] == gate] for gate in ("gate_30", "gate_40")}
    control, treatment = arms["gate_30"], arms["gate_40"]
    n, m = len(control), len(treatment)
    table("Cookie Cats: gate 40 against gate 30", "difference", "p", "lower", "upper")

    def both(name, a, b):
        # Shares are means of zeros and ones, as `montauk analyze` has them.
        found = compare(bench, [{"kind": "mean", "control": moments(a), "treatment": moments(b)}])[0]
        for scale in ("absolute", "relative"):
            one = found[scale]
            row(f"{name}: Montauk, {scale}", f"{one['effect']:+.6f}", f"{one['p_value']:.6g}", f"{one['lower']:+.6f}", f"{one['upper']:+.6f}")
        truth = stats.ttest_ind(b, a, equal_var=False)
        low, high = truth.confidence_interval()
        row(f"{name}: scipy, Welch", f"{b.mean() - a.mean():+.6f}", f"{truth.pvalue:.6g}", f"{low:+.6f}", f"{high:+.6f}")
        low, high = CompareMeans(DescrStatsW(b), DescrStatsW(a)).tconfint_diff(usevar="unequal")
        row(f"{name}: statsmodels, Welch", f"{b.mean() - a.mean():+.6f}", "", f"{low:+.6f}", f"{high:+.6f}")
        row(f"{name}: always-valid p", "", f"{found['absolute']['always_valid_p']:.6g}", "", "")

    for name, column in (("retention after 1 day", 3), ("retention after 7 days", 4)):
        a, b = (numpy.array([line[column] == "True" for line in arm], float) for arm in (control, treatment))
        both(name, a, b)
        _, p = proportions_ztest([b.sum(), a.sum()], [m, n])
        row(f"{name}: statsmodels, z of shares", "", f"{p:.6g}", "", "")
    a, b = (numpy.array([float(line[2]) for line in arm]) for arm in (control, treatment))
    print(f"rounds: largest {a.max():.0f} and {b.max():.0f}, 99.9 % of all at most {numpy.quantile(numpy.concatenate([a, b]), 0.999):.0f}")
    both("rounds played", a, b)
    cap = float(numpy.quantile(numpy.concatenate([a, b]), 0.999))
    both("rounds, capped at 99.9 %", numpy.minimum(a, cap), numpy.minimum(b, cap))
    ours = json.loads(cpu([bench.example("sample_ratio"), n, m])[1])
    truth = stats.chisquare([n, m])
    table("sample ratio of Cookie Cats", "units", "p", "", "")
    row("Montauk", f"{n} / {m}", f"{ours['p']:.6g}", "", "")
    row("scipy", "", f"{truth.pvalue:.6g}", "", "")
    row("Montauk, e-value read at once", "", f"{ours['sequential_p']:.6g}", "", "")


def interleaving(bench):
    """The long run of the crate, whose figures are its test's: quoted, not made again."""
    _, said = cpu([*bench.test("long_runs"), "interleaving_needs", "--nocapture"])
    print("\ninterleaving (team draft, sign test) against an A/B test on the same simulated users, both for a power of .95")
    print("\n".join(line for line in said.splitlines() if "visits" in line))


def peeking(bench):
    runs = 2_000
    seconds, said = cpu([bench.example("peeking"), runs, 1])
    lines = [json.loads(line) for line in said.splitlines()]
    names = [name for name in lines[0] if name not in ("effect", "runs")]
    table(f"share of {runs:,} experiments found, 40 looks of 250 units", *(f"effect {line['effect']} sd" for line in lines))
    for name in names:
        row(name, *(f"{line[name]:.4f}" for line in lines))
    # The naive row again, by others: scipy on draws of its own.
    generator = numpy.random.default_rng(3)
    values = generator.normal(size=(2, runs, 40, 125))
    count = 125 * numpy.arange(1, 41)
    sums, squares = values.sum(-1).cumsum(-1), (values * values).sum(-1).cumsum(-1)
    mean = sums / count
    deviation = numpy.sqrt((squares - count * mean ** 2) / (count - 1))
    p = stats.ttest_ind_from_stats(mean[1], deviation[1], count, mean[0], deviation[0], count, equal_var=False).pvalue
    row("scipy, Welch at every look", f"{(p < 0.05).any(-1).mean():.4f}", "", "")
    print(f"three standard errors of .05 in {runs:,} runs: {3 * (0.05 * 0.95 / runs) ** 0.5:.4f}; Montauk {seconds:.1f} CPU s for three times {runs:,} experiments")


PARTS = {"evaluation": evaluation, "analysis": analysis, "agreement": agreement, "cats": cats, "interleaving": interleaving, "peeking": peeking}


class Bench:
    """Where everything lies."""

    def __init__(self, target, shared, directory):
        self.target, self.shared, self.directory = target, shared, directory
        self.eppo = target / "release/eppo-peer"

    def example(self, name):
        return self.target / "release/examples" / name

    def test(self, name):
        found = sorted((self.target / "release/deps").glob(f"{name}-*"), key=lambda path: path.stat().st_mtime)
        found = [path for path in found if os.access(path, os.X_OK) and not path.suffix]
        return ["sh", "-c", f'"{found[-1]}" "$@" 2>&1', "sh"] if found else sys.exit(f"the test `{name}` is not built")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=pathlib.Path, default=os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--shared", type=pathlib.Path, default=os.environ.get("MONTAUK_SHARED"))
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, {machine()}")
    with tempfile.TemporaryDirectory() as directory:
        shared = arguments.shared and pathlib.Path(arguments.shared)
        bench = Bench(pathlib.Path(arguments.target), shared, pathlib.Path(directory))
        for name in arguments.only.split(","):
            PARTS[name](bench)


if __name__ == "__main__":
    main()
