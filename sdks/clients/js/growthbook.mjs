// GrowthBook's JavaScript SDK against the real server.

import EventSource from "eventsource";
import { GrowthBook, LocalStorageStickyBucketService, clearCache, configureCache, setPolyfills } from "@growthbook/growthbook";
import { evaluateFeatures } from "@growthbook/proxy-eval";
import { Edge, ENCRYPTION_KEY, equal, units, until } from "./server.mjs";

setPolyfills({ EventSource });

async function serve(...options) {
  const edge = new Edge(...options);
  edge.publish();
  return edge.start();
}

async function open(edge, clientKey, options = {}, streaming = false) {
  await clearCache();
  // One instance without a stream switches streams off for all that come later in the process.
  configureCache({ backgroundSync: streaming });
  const gb = new GrowthBook({ apiHost: edge.url, clientKey, ...options });
  const { success, error } = await gb.init({ timeout: 5000, streaming });
  if (!success) throw error;
  return gb;
}

const motd = (gb) => gb.getFeatureValue("motd", "none");

async function assignments(clientKey, options) {
  const edge = await serve();
  try {
    const all = units(1000);
    const expected = edge.expected(all);
    const gb = await open(edge, clientKey, options);
    for (const [i, attributes] of all.entries()) {
      await gb.setAttributes(attributes);
      for (const [key, { result }] of Object.entries(expected[i])) {
        const found = gb.evalFeature(key);
        equal([found.value, found.source, found.ruleId], [result.value, result.source, result.ruleId], `${attributes.id}, ${key}`);
      }
    }
    gb.destroy();
    return `${all.length} units × ${Object.keys(expected[0]).length} flags equal`;
  } finally {
    await edge.end();
  }
}

export const growthbook = {
  fetch: () => assignments("sdk-plain", {}),

  "encrypted payload": () => assignments("sdk-encrypted", { decryptionKey: ENCRYPTION_KEY }),

  async "unknown key"() {
    const edge = await serve();
    const gb = new GrowthBook({ apiHost: edge.url, clientKey: "sdk-none" });
    const { success, error } = await gb.init({ timeout: 5000 });
    equal([success, error.message, motd(gb)], [false, "HTTP error: 400", "none"], "init");
    await edge.end();
  },

  async "SSE updates"() {
    const edge = await serve();
    const gb = await open(edge, "sdk-plain", {}, true);
    const encrypted = new GrowthBook({ apiHost: edge.url, clientKey: "sdk-encrypted", decryptionKey: ENCRYPTION_KEY });
    await encrypted.init({ streaming: true });
    const took = [];
    for (let i = 0; i < 100; i += 1) {
      // At every phase of the server's look for news.
      await new Promise((resolve) => setTimeout(resolve, (i * 61.8) % 250));
      const expected = `revision ${edge.publish()}`;
      await until(expected, () => motd(gb) === expected);
      took.push(performance.now() - edge.publishedAt);
    }
    await until("the encrypted one", () => motd(encrypted) === `revision ${edge.revision}`);
    gb.destroy();
    encrypted.destroy();
    await edge.end();
    took.sort((a, b) => a - b);
    return `p50 ${took[49].toFixed(0)} ms, p99 ${took[98].toFixed(0)} ms, most ${took[99].toFixed(0)} ms from file to value`;
  },

  async "SSE after a restart"() {
    const edge = await serve();
    const gb = await open(edge, "sdk-plain", {}, true);
    let seen = "";
    for (const signal of ["SIGTERM", "SIGKILL"]) {
      await until("the stream", async () => (await (await fetch(`${edge.url}/metrics`)).text()).includes("montauk_flag_streams_open 1\n"));
      const code = await edge.stop(signal);
      if (signal === "SIGTERM") equal(code, 0, "exit code");
      // What is published while nobody serves is seen after the restart.
      edge.publish();
      await edge.start();
      const back = performance.now();
      await until(signal, () => motd(gb) === `revision ${edge.revision}`);
      seen += ` ${((performance.now() - back) / 1000).toFixed(1)} s after ${signal}`;
    }
    gb.destroy();
    await edge.end();
    return `back${seen}`;
  },

  async "remote evaluation"() {
    const edge = await serve();
    const gb = new GrowthBook({ apiHost: edge.url, clientKey: "sdk-remote", remoteEval: true, attributes: { id: "" } });
    const all = units(1000);
    const expected = edge.expected(all);
    for (const [i, attributes] of all.entries()) {
      await clearCache();
      await gb.setAttributes(attributes);
      await gb.refreshFeatures({ skipCache: true });
      for (const [key, { result }] of Object.entries(expected[i])) equal(gb.getFeatureValue(key, null), result.value, `${attributes.id}, ${key}`);
    }
    gb.destroy();
    // Beside GrowthBook's own evaluator for servers, with everything that a request may say.
    const definitions = await (await fetch(`${edge.url}/api/features/sdk-plain`)).json();
    for (const attributes of all.slice(0, 200)) {
      const request = { attributes, forcedVariations: { price: 1 }, forcedFeatures: [["nav", "forced"]], url: "http://shop/?checkout=2" };
      const theirs = await evaluateFeatures({ ...request, payload: definitions, forcedFeatures: new Map(request.forcedFeatures) });
      const ours = await (await fetch(`${edge.url}/api/eval/sdk-remote`, { method: "POST", body: JSON.stringify(request) })).json();
      equal(Object.keys(ours.features).sort(), Object.keys(theirs.features).sort(), "features");
      const tracked = (features) => Object.values(features).flatMap(({ rules = [] }) => rules.flatMap(({ tracks }) => tracks.filter(({ result }) => result.hashUsed).map(({ experiment, result }) => JSON.stringify([experiment.key, experiment.variations, result.key, result.hashValue]))));
      for (const key of Object.keys(ours.features)) equal(ours.features[key].defaultValue, theirs.features[key].defaultValue, key);
      // Theirs says an exposure with the first feature that has it, and also what was forced; ours with each, and not what was forced.
      equal([...new Set(tracked(ours.features))].sort(), [...new Set(tracked(theirs.features))].sort(), "exposures");
    }
    // A stream tells a remote connection to ask again.
    const live = await open(edge, "sdk-remote", { remoteEval: true, attributes: { id: "u" } }, true);
    edge.publish();
    await until("a remote update", () => motd(live) === `revision ${edge.revision}`);
    live.destroy();
    await edge.end();
    return `${all.length} units equal; 200 requests equal to proxy-eval 1.1.2`;
  },

  async "tracking callbacks"() {
    const edge = await serve();
    const all = units(300);
    const expected = edge.expected(all);
    let count = 0;
    for (const [clientKey, remoteEval] of [["sdk-plain", false], ["sdk-remote", true]]) {
      for (const [i, attributes] of all.entries()) {
        if (remoteEval && i >= 50) break;
        const seen = [];
        const note = (experiment, result) => seen.push(JSON.stringify([experiment.key, result.key, result.hashAttribute, result.hashValue]));
        const gb = remoteEval || i === 0 ? await open(edge, clientKey, { attributes, remoteEval, trackingCallback: note }) : new GrowthBook({ attributes, trackingCallback: note }).initSync({ payload: await (await fetch(`${edge.url}/api/features/${clientKey}`)).json() });
        for (const key of Object.keys(expected[i])) gb.evalFeature(key);
        const wanted = Object.values(expected[i]).flatMap(({ exposures }) => exposures.map(([experiment, result]) => JSON.stringify([experiment.key, result.key, result.hashAttribute, result.hashValue])));
        await new Promise((resolve) => setImmediate(resolve));
        equal([...new Set(seen)].sort(), [...new Set(wanted)].sort(), `${clientKey}, ${attributes.id}`);
        count += new Set(seen).size;
        gb.destroy();
      }
    }
    await edge.end();
    return `${count} exposures equal`;
  },

  async "sticky buckets"() {
    const edge = await serve();
    const kept = new Map();
    const localStorage = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
    const service = () => new LocalStorageStickyBucketService({ localStorage });
    const gb = await open(edge, "sdk-plain", { attributes: { id: "unit-5" }, stickyBucketService: service() });
    const first = gb.evalFeature("price");
    await until("a document", () => kept.size === 1);
    const [key, text] = [...kept][0];
    const documents = { "id||unit-5": JSON.parse(text) };
    const ours = edge.expected([{ id: "unit-5" }], { sticky: {} })[0].price;
    equal([documents["id||unit-5"]], ours.sticky, "the saved document");
    // Moved to the other variation by hand: the document decides, here and there.
    const other = first.experimentResult.key === "control" ? "treatment" : "control";
    documents["id||unit-5"].assignments.price__0 = other;
    kept.set(key, JSON.stringify(documents["id||unit-5"]));
    const again = await open(edge, "sdk-plain", { attributes: { id: "unit-5" }, stickyBucketService: service() });
    const moved = edge.expected([{ id: "unit-5" }], { sticky: documents })[0].price.result;
    const found = again.evalFeature("price");
    equal([found.value, found.experimentResult.key, found.experimentResult.stickyBucketUsed], [moved.value, other, true], "the moved unit");
    gb.destroy();
    again.destroy();
    await edge.end();
  },
};
