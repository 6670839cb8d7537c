import { OpenFeature } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";

const baseUrl = globalThis.process?.env.MONTAUK_URL ?? "https://flags.example.com";
await OpenFeature.setContext({ targetingKey: "unit-1" });
await OpenFeature.setProviderAndWait(new OFREPWebProvider({ baseUrl, headers: [["X-API-Key", "sdk-plain"]], pollInterval: 0 }));
console.log(OpenFeature.getClient().getBooleanValue("search", false), OpenFeature.getClient().getStringValue("motd", "none"));
