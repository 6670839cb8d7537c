"""Prints how fast a MariaDB table becomes Parquet: Montauk beside connectorx, on the same rows in the same run.

Usage: .venv-bench/bin/python bench/ingest.py [--target DIR] [--rows N] [--rounds N] [--workers N] [--changes N]
Needs a release build, MariaDB's server and client, and a Python environment with connectorx and pyarrow (`make bench-ingest` makes it).
Starts a server of its own in a temporary directory. Nothing is asserted about time; what was staged is compared with the server.
"""

import argparse
import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Nine columns as an order table has them: a third of the texts absent, some with quotes, line breaks and emoji, JSON in every row.
ORDERS = """
SET time_zone = '+00:00', sql_log_bin = 0;
CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY, user_id INT NOT NULL, status VARCHAR(16) NOT NULL, amount DECIMAL(12,2) NOT NULL,
  created_at DATETIME(6) NOT NULL, updated_at TIMESTAMP NULL, coupon VARCHAR(32), note TEXT, attrs JSON NOT NULL
) CHARSET = utf8mb4;
INSERT INTO orders
SELECT seq, 1 + CRC32(CONCAT('user', seq)) % 200000, ELT(1 + CRC32(CONCAT('status', seq)) % 5, 'new', 'paid', 'shipped', 'refunded', 'cancelled'),
  CRC32(CONCAT('amount', seq)) % 10000000 / 100,
  '2024-01-01' + INTERVAL seq * 13 SECOND + INTERVAL CRC32(seq) % 1000000 MICROSECOND,
  IF(seq % 4 = 0, NULL, FROM_UNIXTIME(1704067200 + seq * 13)),
  IF(seq % 10 < 7, NULL, CONCAT('SAVE', CRC32(CONCAT('coupon', seq)) % 1000)),
  IF(seq % 3 = 0, NULL, CONCAT('note ', REPEAT(MD5(seq), 1 + seq % 3), IF(seq % 50 = 0, ' \\n"quoted", tab\\t 😀', ''))),
  CONCAT('{"sku": "SKU-', CRC32(CONCAT('sku', seq)) % 50000, '", "qty": ', 1 + seq % 9, ', "gift": ', IF(seq % 7 = 0, 'true', 'false'), '}')
FROM seq_1_to_@ROWS@;
ANALYZE TABLE orders;
"""

CONNECTORX = """
import sys, connectorx, pyarrow.parquet
url, out, parts = sys.argv[1:]
table = connectorx.read_sql(url, "SELECT * FROM orders", return_type="arrow", partition_on="id", partition_num=int(parts))
pyarrow.parquet.write_table(table, out, compression="zstd")
"""


class Server:
    """A MariaDB of our own, with a binlog as a server that is replicated has."""

    def __init__(self, directory):
        self.socket = directory / "mariadb.sock"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        data = directory / "data"
        user = ["--user=root"] if os.geteuid() == 0 else []
        install = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*install, f"--datadir={data}", *user], check=True, capture_output=True)
        daemon = shutil.which("mariadbd") or "/usr/sbin/mariadbd"
        options = ["--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.socket}", "--log-bin=binlog", "--server-id=7"]
        # As mode `changes` needs it.
        options += ["--binlog-format=ROW", "--binlog-row-metadata=FULL"]
        sizes = ["--innodb-buffer-pool-size=2G", "--innodb-log-file-size=1G", "--innodb-flush-log-at-trx-commit=2"]
        self.process = subprocess.Popen(
            [daemon, "--no-defaults", *user, f"--datadir={data}", *options, *sizes],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(240):
            if self.socket.exists() and subprocess.run([*self.client(), "-e", "select 1"], capture_output=True).returncode == 0:
                break
            time.sleep(0.25)
        self.sql("CREATE DATABASE bench; CREATE USER bench@'%' IDENTIFIED BY 'bench'; GRANT ALL ON *.* TO bench@'%'")
        self.url = f"mysql://bench:bench@127.0.0.1:{self.port}/bench"

    def client(self):
        return ["mariadb", "--no-defaults", "-uroot", f"--socket={self.socket}", "--default-character-set=utf8mb4", "-NB"]

    def sql(self, text, database=""):
        done = subprocess.run([*self.client(), *([database] if database else [])], input=text, text=True, capture_output=True)
        if done.returncode:
            sys.exit(done.stderr)
        return done.stdout

    def cpu(self):
        """CPU seconds of the server so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def peak_of(pid, peak):
    """Peak resident MiB of a process that has no children."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return max(peak, int(line.split()[1]) / 1024)
    except (OSError, StopIteration):
        return peak


def measure(server, command, output, **options):
    """One run: wall and CPU seconds of the client, CPU seconds of the server, peak memory, size of the output."""
    server_before = server.cpu()
    started = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, **options)
        peak = [0.0]
        over = threading.Event()

        def watch():
            while not over.wait(0.02):
                peak[0] = peak_of(process.pid, peak[0])

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        over.set()
        watcher.join()
        said.seek(0)
        text = said.read().decode()
        if status:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{text}")
    size = sum(file.stat().st_size for file in output.rglob("*.parquet")) if output.is_dir() else output.stat().st_size
    return {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "server": server.cpu() - server_before,
        "peak": max(peak[0], usage.ru_maxrss / 1024),
        "mib": size / 2**20,
        "said": text,
    }


def montauk(server, binary, directory, workers, proof):
    project = directory / "project"
    shutil.rmtree(project, ignore_errors=True)
    (project / "sources").mkdir(parents=True)
    (project / "montauk.toml").write_text('[project]\nname = "bench"\n')
    (project / "sources/shop.toml").write_text('kind = "mariadb"\nurl = "${BENCH_URL}"\n\n[tables.orders]\n')
    command = [binary, "-C", str(project), "--json", "extract", "--workers", str(workers)]
    if not proof:
        command.append("--no-proof")
    return measure(server, command, project / ".montauk/stage", env={**os.environ, "BENCH_URL": server.url})


def follow(server, binary, directory, changes):
    """The table is staged and loaded; then rows change, in one statement and one by one, and the log is caught up with."""
    project = directory / "follow"
    shutil.rmtree(project, ignore_errors=True)
    (project / "sources").mkdir(parents=True)
    (project / "montauk.toml").write_text('[project]\nname = "bench"\n')
    source = 'kind = "mariadb"\nurl = "${BENCH_URL}"\nproof = false\n\n[tables.orders]\nmode = "changes"\n'
    (project / "sources/shop.toml").write_text(source)

    def run(*arguments):
        command = [binary, "-C", str(project), "--json", *arguments]
        return measure(server, command, project / ".montauk/stage", env={**os.environ, "BENCH_URL": server.url})

    run("extract")
    run("copy")
    rows = {}
    single = "".join(f"UPDATE orders SET amount = amount + 1 WHERE id = {n};\n" for n in range(1, changes // 10 + 1))
    for name, statement, count in [
        ("one statement", f"UPDATE orders SET amount = amount + 1 WHERE id <= {changes}", changes),
        ("one row each", single, changes // 10),
    ]:
        server.sql(statement, "bench")
        extracted, copied = run("extract"), run("copy")
        found = json.loads(extracted["said"])["tables"][0]["rows"]
        if found != count:
            sys.exit(f"{found} changes were staged of {count}")
        rows[name] = (count, extracted, copied)
    print(f"\nchanges by the log{'':18} {'wall s':>8} {'changes/s':>10} {'client CPU-s':>13} {'peak MiB':>9}")
    for name, (count, extracted, copied) in rows.items():
        for verb, row in [("extract", extracted), ("copy", copied)]:
            speed = count / row["wall"]
            print(f"{count:9,} of {name:15} {verb:8} {row['wall']:8.2f} {speed:10,.0f} {row['cpu']:13.2f} {row['peak']:9.0f}")


def connectorx(server, directory, workers):
    output = directory / "connectorx.parquet"
    output.unlink(missing_ok=True)
    return measure(server, [sys.executable, "-c", CONNECTORX, server.url, str(output), str(workers)], output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default=os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), type=pathlib.Path)
    parser.add_argument("--rows", default=2_000_000, type=int)
    parser.add_argument("--rounds", default=3, type=int)
    parser.add_argument("--workers", default=4, type=int)
    parser.add_argument("--changes", default=1_000_000, type=int)
    arguments = parser.parse_args()
    binary = arguments.target / "release/montauk"
    if not binary.exists():
        sys.exit(f"{binary} is missing: cargo build --release --workspace")
    with tempfile.TemporaryDirectory(prefix="montauk-bench-") as name:
        directory = pathlib.Path(name)
        server = Server(directory)
        try:
            server.sql(ORDERS.replace("@ROWS@", str(arguments.rows)), "bench")
            run(server, binary, directory, arguments)
            follow(server, binary, directory, arguments.changes)
        finally:
            server.stop()


def run(server, binary, directory, arguments):
    rows = {"connectorx": [], "montauk": [], "montauk with proof": []}
    for _ in range(arguments.rounds):
        rows["connectorx"].append(connectorx(server, directory, arguments.workers))
        rows["montauk"].append(montauk(server, binary, directory, arguments.workers, proof=False))
        rows["montauk with proof"].append(montauk(server, binary, directory, arguments.workers, proof=True))
    report = json.loads(rows["montauk with proof"][-1]["said"])["tables"][0]
    if report["rows"] != arguments.rows:
        sys.exit(f"{report['rows']} rows were staged of {arguments.rows}")
    print(f"{arguments.rows:,} rows × 9 columns → Parquet zstd, {arguments.workers} workers, median of {arguments.rounds} rounds\n")
    print(f"{'':20} {'wall s':>8} {'rows/s':>10} {'client CPU-s':>13} {'server CPU-s':>13} {'peak MiB':>9} {'out MiB':>8}")
    middle = {name: {key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "server", "peak", "mib")} for name, runs in rows.items()}
    for name, row in middle.items():
        speed = arguments.rows / row["wall"]
        print(f"{name:20} {row['wall']:8.2f} {speed:10,.0f} {row['cpu']:13.2f} {row['server']:13.2f} {row['peak']:9.0f} {row['mib']:8.1f}")
    peer, ours = middle["connectorx"], middle["montauk"]
    print(f"\nmontauk / connectorx: wall {ours['wall'] / peer['wall']:.2f}, client CPU {ours['cpu'] / peer['cpu']:.2f}")
    print(f"the proof: {report['proof_milliseconds'] / 1e3:.1f} s of work of the server's connections, {report['files']} parts")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
