// OpenFeature's web SDK with the OFREP web provider against the real server.

import EventSource from "eventsource";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { context, details, plain } from "./ofrep-server.mjs";
import { Edge, equal, units, until } from "./server.mjs";

async function serve(...options) {
  const edge = new Edge(...options);
  edge.publish();
  return edge.start();
}

let nth = 0;
async function client(edge, unit, options = {}) {
  const domain = `web-${(nth += 1)}`;
  await OpenFeature.setContext(domain, context(unit));
  const provider = new OFREPWebProvider({ baseUrl: edge.url, headers: [["Authorization", "Bearer sdk-plain"]], cacheMode: "disabled", ...options });
  await OpenFeature.setProviderAndWait(domain, provider);
  return { flags: OpenFeature.getClient(domain), domain };
}

export const ofrepWeb = {
  async assignments() {
    const edge = await serve();
    const all = units(1000);
    const expected = edge.expected(all);
    const { flags, domain } = await client(edge, all[0], { changeDetection: "none" });
    for (const [i, unit] of all.entries()) {
      if (i > 0) await OpenFeature.setContext(domain, context(unit));
      for (const [key, answer] of Object.entries(expected[i])) {
        if (plain(key, answer)) equal(details(flags, key, answer.result.value).value, answer.result.value, `${unit.id}, ${key}`);
      }
    }
    await edge.end();
    return `${all.length} units equal`;
  },

  async "polling with If-None-Match"() {
    const edge = await serve();
    const statuses = [];
    const asked = async (request) => {
      const response = await fetch(request);
      statuses.push([request.headers.get("if-none-match") !== null, response.status]);
      return response;
    };
    const { flags } = await client(edge, { id: "unit-1" }, { pollInterval: 30, changeDetection: "polling", fetchImplementation: asked });
    await until("answers without a body", () => statuses.length > 5);
    equal([statuses[0], statuses[4]], [[false, 200], [true, 304]], "statuses");
    edge.publish();
    await until("a poll that brings news", () => flags.getStringValue("motd", "none") === "revision 2");
    await OpenFeature.clearProviders();
    await edge.end();
  },

  async "SSE notices"() {
    const edge = await serve();
    globalThis.EventSource = EventSource;
    const { flags } = await client(edge, { id: "unit-1" });
    const changed = [];
    flags.addHandler(ProviderEvents.ConfigurationChanged, ({ flagsChanged }) => changed.push(flagsChanged));
    const took = [];
    for (let i = 0; i < 20; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, (i * 61.8) % 250));
      const expected = `revision ${edge.publish()}`;
      await until(expected, () => flags.getStringValue("motd", "none") === expected);
      took.push(performance.now() - edge.publishedAt);
    }
    await edge.stop("SIGKILL");
    edge.publish();
    await edge.start();
    await until("an update after a restart", () => flags.getStringValue("motd", "none") === `revision ${edge.revision}`);
    equal(changed.length > 0, true, "events");
    delete globalThis.EventSource;
    await OpenFeature.clearProviders();
    await edge.end();
    took.sort((a, b) => a - b);
    return `p50 ${took[9].toFixed(0)} ms, most ${took[19].toFixed(0)} ms; back after SIGKILL`;
  },

  async errors() {
    const edge = await serve();
    const { flags } = await client(edge, { id: "unit-1" }, { changeDetection: "none" });
    const check = (found, code) => equal([found.errorCode, found.reason], [code, "ERROR"], code);
    check(flags.getStringDetails("none", "code"), "FLAG_NOT_FOUND");
    check(flags.getBooleanDetails("motd", true), "TYPE_MISMATCH");
    check(flags.getNumberDetails("loop", 5), "GENERAL");
    let fatal;
    await client(edge, { id: "u" }, { headers: [["Authorization", "Bearer sdk-none"]] }).catch((error) => { fatal = error; });
    equal(fatal?.code, "PROVIDER_FATAL", String(fatal));
    await OpenFeature.clearProviders();
    await edge.end();
    return "unknown flag, type mismatch, cycle, 401";
  },

  async "429 gives the default"() {
    const edge = await serve("--flags-per-second", "1");
    let failed;
    for (let i = 0; i < 30 && !failed; i += 1) {
      await client(edge, { id: `unit-${i}` }, { changeDetection: "none" }).catch((error) => { failed = error; });
    }
    equal(/429|rate limit/i.test(String(failed?.message)) || /rate limit/i.test(String(failed?.cause?.message)), true, String(failed));
    await OpenFeature.clearProviders();
    await edge.end();
  },
};
