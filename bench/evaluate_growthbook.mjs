// Evaluates one feature many times with GrowthBook's JavaScript SDK: node evaluate_growthbook.mjs FILE ROUNDS
// Clocks are read outside, as for the example `evaluation_speed`.

import { readFileSync } from "node:fs";
import { GrowthBook } from "../sdks/differential/node_modules/@growthbook/growthbook/dist/esm/index.mjs";

const { payload, attributes, feature } = JSON.parse(readFileSync(process.argv[2]));
const growthbook = new GrowthBook({ attributes, features: payload.features, trackingCallback() {} });
for (let round = Number(process.argv[3]); round > 0; round -= 1) growthbook.evalFeature(feature);
console.log(JSON.stringify(growthbook.evalFeature(feature).value));
