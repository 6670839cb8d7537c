// OpenFeature's server SDK with the OFREP provider against the real server.

import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { Edge, equal, units } from "./server.mjs";

async function serve(...options) {
  const edge = new Edge(...options);
  edge.publish();
  return edge.start();
}

let nth = 0;
async function client(edge, token = "sdk-plain") {
  const domain = `server-${(nth += 1)}`;
  await OpenFeature.setProviderAndWait(domain, new OFREPProvider({ baseUrl: edge.url, headers: [["Authorization", `Bearer ${token}`]] }));
  return OpenFeature.getClient(domain);
}

export const context = ({ id, ...attributes }) => ({ targetingKey: id, ...attributes });

// A default that no flag has, of the type that the flag has.
export const fallback = (value) => ({ boolean: !value, number: -1, string: "?", object: { none: true } })[typeof value];
export const details = (client, key, value, ...rest) => ({
  boolean: () => client.getBooleanDetails(key, fallback(value), ...rest),
  number: () => client.getNumberDetails(key, fallback(value), ...rest),
  string: () => client.getStringDetails(key, fallback(value), ...rest),
  object: () => client.getObjectDetails(key, fallback(value), ...rest),
})[typeof value]();

// Keys that a provider puts into an address as they are cannot hold what an address takes for its own.
export const plain = (key, { result }) => result.value !== null && result.source !== "cyclicPrerequisite";

export const ofrepServer = {
  async assignments() {
    const edge = await serve();
    const all = units(1000);
    const expected = edge.expected(all);
    const flags = await client(edge);
    let count = 0;
    for (let start = 0; start < all.length; start += 50) {
      await Promise.all(all.slice(start, start + 50).map(async (unit, i) => {
        for (const [key, answer] of Object.entries(expected[start + i])) {
          if (!plain(key, answer)) continue;
          const { value, flagMetadata, reason } = await details(flags, key, answer.result.value, context(unit));
          equal(value, answer.result.value, `${unit.id}, ${key}`);
          const experiment = answer.result.experimentResult;
          equal([flagMetadata.experiment, flagMetadata.variationId, flagMetadata.bucket], experiment ? [answer.result.experiment.key, experiment.key, experiment.bucket] : [undefined, undefined, undefined], `${unit.id}, ${key}`);
          if (experiment) equal(reason, "SPLIT", key);
          count += 1;
        }
      }));
    }
    await edge.end();
    return `${all.length} units, ${count} values equal`;
  },

  async errors() {
    const edge = await serve();
    const flags = await client(edge);
    const check = async (flags, key, ask, code) => {
      const found = await ask(flags, key);
      equal(found.errorCode, code, `${key}: ${found.errorMessage}`);
      return found;
    };
    const user = { targetingKey: "unit-1" };
    const text = (context) => (flags, key) => flags.getStringDetails(key, "code", context);
    equal((await check(flags, "none", text(user), "FLAG_NOT_FOUND")).value, "code", "default");
    await check(flags, "checkout", text({}), "TARGETING_KEY_MISSING");
    await check(flags, "checkout", text({ targetingKey: 7 }), "INVALID_CONTEXT");
    await check(flags, "loop", (flags, key) => flags.getNumberDetails(key, 5, user), "GENERAL");
    await check(flags, "motd", (flags, key) => flags.getBooleanDetails(key, true, user), "TYPE_MISMATCH");
    for (const token of ["sdk-none", "sdk-encrypted"]) equal((await check(await client(edge, token), "motd", text(user), "GENERAL")).value, "code", token);
    await edge.end();
    return "404, 400, 401, 403, type mismatch";
  },

  async "429 gives the default"() {
    const edge = await serve("--flags-per-second", "1");
    const flags = await client(edge);
    let found;
    for (let i = 0; i < 100 && found?.errorCode === undefined; i += 1) found = await flags.getStringDetails("motd", "code", {});
    equal([found.value, found.reason], ["code", "ERROR"], found.errorMessage);
    await edge.end();
  },
};
