"""Prints Montauk's own figures: the demo's wall time and peak memory, rows per second of each step, training seconds and
quality per recommender, requests per second of `serve`, and size and ready time of `montauk-edge`.

Usage: python3 bench/run.py [--target DIR] [--splits DIR] [--seconds N]
Needs a release build (`cargo build --release`); requests per second need `wrk` (Debian package of that name).
Nothing is asserted: figures depend on the machine, so read them beside each other in one run.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent


def measured(command, **options):
    """Runs a command; returns its output, wall seconds, CPU seconds and peak resident MiB."""
    started = time.monotonic()
    # Into files: whoever reads one pipe to its end while the other is full waits for ever.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, **options)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        out.seek(0)
        err.seek(0)
        if status != 0:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{err.read().decode()}")
        return out.read().decode(), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def machine():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.release()}"


def row(name, value, note=""):
    print(f"{name:<44}{value:>16}  {note}")


def demo(binary, project):
    out, wall, cpu, peak = measured([binary, "-C", project, "--json", "demo", "--once"])
    row("demo: wall", f"{wall:.1f} s", f"{cpu:.1f} CPU s; goal 60 s")
    row("demo: peak memory", f"{peak:.0f} MiB", "goal 1024 MiB")
    report = json.loads(out)
    for step in report["steps"]:
        rate = f"{step['rows'] / step['seconds']:,.0f} rows/s" if step.get("rows") and step["seconds"] > 0 else ""
        row(f"  {step['step']}", f"{step['seconds']:.2f} s", rate)
    again, wall, _, _ = measured([binary, "-C", project, "--json", "demo", "--once"])
    done = sum(step["unchanged"] for step in json.loads(again)["steps"])
    row("demo again: wall", f"{wall:.1f} s", f"{done} of {len(json.loads(again)['steps'])} steps had nothing to do")
    return report


def train(binary, project):
    """Each recommender alone, trained anew: the seconds hold the start of the program and the reading of the mart."""
    names = sorted(path.stem for path in (pathlib.Path(project) / "recommenders").glob("*.toml"))
    shutil.rmtree(pathlib.Path(project) / ".montauk" / "artefacts")
    for name in names:
        _, wall, cpu, peak = measured([binary, "-C", project, "--json", "train", name])
        row(f"train {name}", f"{wall:.2f} s", f"{cpu:.2f} CPU s, {peak:.0f} MiB")
    measured([binary, "-C", project, "--json", "evaluate"])


def wait_ready(process, pattern):
    """Reads what the server says until it names its address; returns it and the seconds until it was ready."""
    started = time.monotonic()
    for line in process.stdout:
        found = re.search(pattern, line.decode())
        if found:
            address = found.group(0)
            # Somebody has to read what it says from now on, or it would block on a full pipe.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            while time.monotonic() - started < 30:
                try:
                    urllib.request.urlopen(f"{address}/readyz", timeout=1).read()
                    return address, time.monotonic() - started
                except OSError:
                    time.sleep(0.005)
    sys.exit("the server did not become ready")


def serve(command, project, users, seconds, name):
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        address, ready = wait_ready(process, r"http://127\.0\.0\.1:\d+")
        row(f"{name}: ready after", f"{ready * 1000:.0f} ms", "goal 1000 ms")
        if shutil.which("wrk") is None:
            row(f"{name}: requests/s", "-", "needs wrk: apt-get install wrk")
            return
        script = pathlib.Path(project) / "wrk.lua"
        paths = ",".join(f'"/v1/users/{user}/recommendations?limit=20"' for user in users)
        script.write_text(f"local p = {{{paths}}}\nlocal i = 0\nrequest = function() i = i % #p + 1; return wrk.format('GET', p[i]) end\n")
        before = cpu_seconds(process.pid)
        out = subprocess.run(["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", "-s", script, address], capture_output=True, text=True, check=True).stdout
        spent = cpu_seconds(process.pid) - before
        total = int(re.search(r"(\d+) requests in", out).group(1))
        rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
        errors = re.search(r"Non-2xx[^\n]*", out)
        row(f"{name}: requests/s", f"{rate:,.0f}", f"{total / spent:,.0f} per CPU s of the server; {errors.group(0) if errors else 'no errors'}")
        row(f"{name}: p99", re.search(r"(?m)^\s+99%\s+(\S+)", out).group(1), "16 connections, closed loop")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_quality(evaluation):
    """The test window with seen items left out: what the demo prints."""
    for window in evaluation["windows"]:
        if (window["window"], window["repeats"]) != ("test", "excluded"):
            continue
        for result in window["recommenders"]:
            metrics = result["metrics"]
            shown = "  ".join(f"{name} {metrics[name]['value']:.4f}" for name in ("recall@20", "ndcg@100") if name in metrics)
            row(f"quality: {result['name']}", shown, f"{window['users']} customers")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default=os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), help="cargo's target directory")
    parser.add_argument("--splits", help="directory with published splits; prints our row of the quality tables")
    parser.add_argument("--seconds", type=int, default=10, help="how long to press on each server")
    arguments = parser.parse_args()
    release = pathlib.Path(arguments.target) / "release"
    binary, edge = release / "montauk", release / "montauk-edge"
    if not binary.exists():
        sys.exit(f"{binary} is missing: run cargo build --release first")
    print(time.strftime("%Y-%m-%d"), machine())
    row("montauk: size", f"{binary.stat().st_size / 1e6:.0f} MB")
    row("montauk-edge: size", f"{edge.stat().st_size / 1e6:.1f} MB", "goal 30 MB")
    with tempfile.TemporaryDirectory() as project:
        report = demo(binary, project)
        train(binary, project)
        users = [customer["user"] for customer in report["customers"]]
        out, _, _, _ = measured([binary, "-C", project, "query", "select distinct user_id from marts.interactions order by 1 limit 500", "--format", "csv"])
        users = out.split()[1:] or users
        serve([binary, "-C", project, "serve", "--listen", "127.0.0.1:0"], project, users, arguments.seconds, "montauk serve")
        serve([edge, "-C", project, "--listen", "127.0.0.1:0"], project, users, arguments.seconds, "montauk-edge")
        print_quality(report["evaluation"]["evaluation"])
    if arguments.splits:
        subprocess.run(["cargo", "build", "--release", "--quiet", "--workspace", "--locked", "--example", "splits"], cwd=ROOT, check=True)
        for split in ("or", "ml1m", "ml100k4"):
            if (pathlib.Path(arguments.splits) / f"{split}_strong_train.csv.gz").exists():
                print(measured([release / "examples" / "splits", arguments.splits, split])[0])


if __name__ == "__main__":
    main()
