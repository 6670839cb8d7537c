"""The real `montauk-edge` on a free port, over a temporary project whose snapshots are published here."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request


class Edge:
    def __init__(self, *options):
        self.project = tempfile.mkdtemp(prefix="montauk-flags-")
        self.options, self.revision, self.port = options, 0, 0
        self.publish()
        self.start()

    def publish(self):
        """Publishes the next revision; its payload is kept for what is expected of it."""
        self.revision += 1
        self.payload = json.loads(subprocess.check_output([os.environ["SNAPSHOT"], self.project, str(self.revision)]))
        self.published_at = time.monotonic()
        return f"revision {self.revision}"

    def start(self):
        command = [os.environ["EDGE"], "-C", self.project, "--listen", f"127.0.0.1:{self.port}", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "MONTAUK_LOG": "error"})
        self.url = self.process.stdout.readline().strip().removeprefix("listening on ")
        self.port = int(self.url.rsplit(":", 1)[1])

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(30)

    def end(self):
        self.stop()
        shutil.rmtree(self.project)

    def metrics(self):
        return urllib.request.urlopen(f"{self.url}/metrics").read().decode()

    def expected(self, units):
        """What the evaluator of the crate `experiment` says: one map of feature results for each unit."""
        lines = "\n".join(json.dumps({"payload": self.payload, "attributes": unit}) for unit in units)
        ours = subprocess.run([os.environ["EVALUATE"]], input=lines, capture_output=True, text=True, check=True)
        return [json.loads(line)["features"] for line in ours.stdout.splitlines()]


ENCRYPTION_KEY = "Zvwv/+uhpFDznZ6SX28Yjg=="


def units(count):
    """Units whose attributes reach every kind of rule; every seventh has a name beyond ASCII."""
    return [
        {
            "id": f"사용자-é-{i}" if i % 7 == 3 else f"unit-{i}",
            "country": ["DE", "FR", "US"][i % 3],
            "age": 15 + i % 50,
            "company": f"company-{i % 40}",
        }
        for i in range(count)
    ]


def until(what, holds, patience_s=30):
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > patience_s:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.005)


def equal(found, expected, what):
    assert found == expected, f"{what}: found {found!r}, expected {expected!r}"
