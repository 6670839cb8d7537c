// Runs every check of the JavaScript clients and prints one line for each: client, check, result. `node run.mjs`, by scripts/test-sdks.sh.

import { growthbook } from "./growthbook.mjs";
import { ofrepServer } from "./ofrep-server.mjs";
import { ofrepWeb } from "./ofrep-web.mjs";

// OpenFeature's web SDK and GrowthBook's browser code ask for these.
process.env.NODE_ENV = "production";

let failed = 0;
for (const [client, checks] of [["growthbook js 1.8.0", growthbook], ["ofrep-provider 0.1.3", ofrepServer], ["ofrep-web-provider 0.4.3", ofrepWeb]]) {
  for (const [check, run] of Object.entries(checks)) {
    try {
      console.log(["result", client, check, (await run()) ?? "ok"].join("\t"));
    } catch (error) {
      failed += 1;
      console.log(["result", client, check, "FAILED"].join("\t"));
      console.error(`${client}, ${check}: ${error.stack}`);
    }
  }
}
process.exit(failed ? 1 : 0);
