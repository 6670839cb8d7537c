// What GrowthBook's JavaScript SDK answers to a pair: the truth that the others are compared with.

import { evalFeature, runExperiment } from "./node_modules/@growthbook/growthbook/dist/esm/core.mjs";

process.env.NODE_ENV = "production";
console.error = () => {};

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

export function byJavaScript(line) {
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
export function canonical(value, key) {
  if (Array.isArray(value)) return value.map((v) => canonical(v));
  if (value && typeof value === "object") return Object.fromEntries(Object.keys(value).sort().map((k) => [k, canonical(value[k], k)]).filter(([, v]) => v !== undefined));
  return value === undefined && key === "value" ? null : Object.is(value, -0) ? 0 : value;
}
