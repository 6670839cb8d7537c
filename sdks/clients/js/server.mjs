// The real `montauk-edge` on a free port, over a temporary project whose snapshots are published here.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const need = (name) => process.env[name] ?? (() => { throw new Error(`${name} is not set: run scripts/test-sdks.sh`); })();

export class Edge {
  constructor(...options) {
    this.project = mkdtempSync(join(tmpdir(), "montauk-flags-"));
    this.options = options;
    this.revision = 0;
    this.port = 0;
  }

  // Publishes the next revision; its payload is kept for what is expected of it.
  publish() {
    this.revision += 1;
    this.payload = JSON.parse(execFileSync(need("SNAPSHOT"), [this.project, String(this.revision)], { maxBuffer: 2 ** 28 }));
    this.publishedAt = performance.now();
    return this.revision;
  }

  async start() {
    this.child = spawn(need("EDGE"), ["-C", this.project, "--listen", `127.0.0.1:${this.port}`, ...this.options], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, MONTAUK_LOG: "error" } });
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
    const line = await new Promise((resolve, reject) => {
      this.child.stdout.once("data", (data) => resolve(data.toString()));
      this.child.once("exit", (code) => reject(new Error(`montauk-edge ended with ${code}`)));
    });
    this.url = line.trim().replace("listening on ", "");
    this.port = Number(new URL(this.url).port);
    return this;
  }

  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    return this.ended;
  }

  async end() {
    await this.stop();
    rmSync(this.project, { recursive: true });
  }

  // What the evaluator of the crate `experiment` says: one map of feature results for each unit.
  expected(units, extra = {}) {
    const lines = units.map((attributes) => JSON.stringify({ payload: this.payload, attributes, ...extra })).join("\n");
    const ours = spawnSync(need("EVALUATE"), [], { input: lines, maxBuffer: 2 ** 30 });
    if (ours.status !== 0) throw new Error(ours.stderr.toString());
    return ours.stdout.toString().trimEnd().split("\n").map((line) => JSON.parse(line).features);
  }
}

export const ENCRYPTION_KEY = "Zvwv/+uhpFDznZ6SX28Yjg==";

// Units whose attributes reach every kind of rule; every seventh has a name beyond ASCII.
export function units(count) {
  return Array.from({ length: count }, (_, i) => ({
    id: i % 7 === 3 ? `사용자-é-${i}` : `unit-${i}`,
    country: ["DE", "FR", "US"][i % 3],
    age: 15 + (i % 50),
    company: `company-${i % 40}`,
  }));
}

export async function until(what, holds, patienceMs = 20000) {
  const began = performance.now();
  while (!(await holds())) {
    if (performance.now() - began > patienceMs) throw new Error(`not within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function equal(found, expected, what) {
  const [a, b] = [JSON.stringify(found), JSON.stringify(expected)];
  if (a !== b) throw new Error(`${what}: found ${a}, expected ${b}`);
}
