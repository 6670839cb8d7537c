import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";

await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: process.env.MONTAUK_URL, headers: [["Authorization", "Bearer sdk-plain"]] }));
const flags = OpenFeature.getClient();
console.log(await flags.getBooleanValue("search", false, { targetingKey: "unit-1" }), await flags.getStringValue("motd", "none"));
