import { GrowthBook } from "@growthbook/growthbook";

const track = (experiment, result) => console.log("exposure", experiment.key, result.key);
const gb = new GrowthBook({ apiHost: process.env.MONTAUK_URL, clientKey: "sdk-plain", attributes: { id: "unit-1" }, trackingCallback: track });
await gb.init({ timeout: 2000 });
console.log(gb.isOn("search"), gb.getFeatureValue("motd", "none"));
