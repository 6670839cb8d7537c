// Evaluates random pairs with the JavaScript SDK and with our example `evaluate`, and compares every field.
// node differential.mjs <examples> <pairs> <seed> [payloads | programs]
// `programs`: the payloads are those that our example `program` compiles from random programs.

import { spawnSync } from "node:child_process";
import { generator } from "./generate.mjs";
import { byJavaScript, canonical } from "./javascript.mjs";
import { programs } from "./programs.mjs";

const [examples, pairs = "10000", seed = "1", kind = "payloads"] = process.argv.slice(2);
const BATCH = 2000;

function run(example, lines) {
  const done = spawnSync(`${examples}/${example}`, [], { input: lines.join("\n"), maxBuffer: 2 ** 30 });
  if (done.status !== 0) throw new Error(`${example} ended with ${done.status ?? done.signal}: ${done.stderr}`);
  return done.stdout.toString().trimEnd().split("\n");
}

function firstDifference(a, b, at = "") {
  if (JSON.stringify(a) === JSON.stringify(b)) return undefined;
  if (a && b && typeof a === "object" && typeof b === "object") {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      const found = firstDifference(a[key], b[key], `${at}.${key}`);
      if (found) return found;
    }
  }
  return `${at}: JavaScript ${JSON.stringify(a)}, ours ${JSON.stringify(b)}`;
}

const next = kind === "programs" ? programs(Number(seed)) : generator(Number(seed));
const refused = {};
let done = 0, results = 0, exposures = 0, documents = 0, different = 0;
const sources = {};

function batch(size) {
  if (kind !== "programs") return Array.from({ length: size }, next);
  const lines = [];
  while (lines.length < size) {
    const made = Array.from({ length: size - lines.length }, next);
    run("program", made.map(({ program }) => program)).forEach((answer, i) => {
      const { payload, error } = JSON.parse(answer);
      if (payload) lines.push(JSON.stringify(made[i].complete(payload)));
      // The reason without names and numbers.
      else refused[error.replace(/`[^`]*`|[\d.]+/g, "…")] = (refused[error.replace(/`[^`]*`|[\d.]+/g, "…")] ?? 0) + 1;
    });
  }
  return lines;
}

while (done < Number(pairs)) {
  const lines = batch(Math.min(BATCH, Number(pairs) - done));
  const answers = run("evaluate", lines);
  lines.forEach((line, i) => {
    const expected = canonical(JSON.parse(JSON.stringify(byJavaScript(line), (k, v) => (v === undefined && k === "value" ? null : v))));
    const found = firstDifference(expected, canonical(JSON.parse(answers[i])));
    for (const answer of [...Object.values(expected.features ?? {}), ...(expected.experiments ?? [])]) {
      results += 1;
      exposures += answer.exposures.length;
      documents += answer.sticky.length;
      const source = answer.result.source ?? (answer.result.inExperiment ? "in experiment" : "not in experiment");
      sources[source] = (sources[source] ?? 0) + 1;
    }
    if (found) {
      different += 1;
      if (different <= 5) console.log(`pair ${done + i}: ${found}\n${line}\n`);
    }
  });
  done += lines.length;
}
console.log(`${kind}, seed ${seed}: ${done} pairs, ${results} results, ${exposures} exposures, ${documents} sticky documents: ${different} pairs differ`);
console.log(JSON.stringify(sources));
if (kind === "programs") console.log("programs that were refused:", refused);
process.exit(different ? 1 : 0);
