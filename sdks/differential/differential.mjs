// Evaluates random pairs with the JavaScript SDK and with our example program, and compares every field.
// node differential.mjs <program> <pairs> <seed>

import { spawnSync } from "node:child_process";
import { evalFeature, runExperiment } from "./node_modules/@growthbook/growthbook/dist/esm/core.mjs";
import { generator } from "./generate.mjs";

process.env.NODE_ENV = "production";
console.error = () => {};

const [program, pairs = "10000", seed = "1"] = process.argv.slice(2);
const BATCH = 2000;

function evaluate(line, run) {
  const { payload, attributes, url, forcedVariations, forcedFeatures, sticky, qaMode, enabled } = JSON.parse(line);
  const exposures = [], saved = new Map();
  const context = {
    global: { ...payload, log() {}, qaMode, enabled },
    user: {
      attributes, url, forcedVariations,
      forcedFeatureValues: forcedFeatures && new Map(Object.entries(forcedFeatures)),
      stickyBucketAssignmentDocs: sticky && { ...sticky },
      saveStickyBucketAssignmentDoc: sticky && ((doc) => { saved.delete(`${doc.attributeName}||${doc.attributeValue}`); saved.set(`${doc.attributeName}||${doc.attributeValue}`, doc); }),
      trackedExperiments: new Set(),
      trackingCallback: (experiment, result) => { exposures.push([experiment, result]); },
    },
    stack: { evaluatedFeatures: new Set() },
  };
  const result = run(context, payload);
  return { result, exposures, sticky: [...saved.values()] };
}

function byJavaScript(line) {
  const { payload } = JSON.parse(line);
  try {
    const features = {};
    for (const key of Object.keys(payload.features)) features[key] = evaluate(line, (context) => evalFeature(key, context));
    const experiments = (payload.experiments ?? []).map((_, i) => evaluate(line, (context, payload) => runExperiment(payload.experiments[i], null, context).result));
    return { features, experiments };
  } catch (error) {
    return { error: String(error) };
  }
}

// A value that JavaScript leaves undefined is null on the wire.
function canonical(value, key) {
  if (Array.isArray(value)) return value.map((v) => canonical(v));
  if (value && typeof value === "object") return Object.fromEntries(Object.keys(value).sort().map((k) => [k, canonical(value[k], k)]).filter(([, v]) => v !== undefined));
  return value === undefined && key === "value" ? null : Object.is(value, -0) ? 0 : value;
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

const next = generator(Number(seed));
let done = 0, results = 0, exposures = 0, documents = 0, different = 0;
const sources = {};
while (done < Number(pairs)) {
  const lines = Array.from({ length: Math.min(BATCH, Number(pairs) - done) }, next);
  const ours = spawnSync(program, [], { input: lines.join("\n"), maxBuffer: 2 ** 30 });
  if (ours.status !== 0) throw new Error(`the program ended with ${ours.status ?? ours.signal}: ${ours.stderr}`);
  const answers = ours.stdout.toString().trimEnd().split("\n");
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
console.log(`seed ${seed}: ${done} pairs, ${results} results, ${exposures} exposures, ${documents} sticky documents: ${different} pairs differ`);
console.log(JSON.stringify(sources));
process.exit(different ? 1 : 0);
