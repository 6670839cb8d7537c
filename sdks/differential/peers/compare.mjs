// Where other SDKs of GrowthBook answer otherwise than its JavaScript SDK: every disagreement shrunk, put into a class, counted.
// node compare.mjs <pairs> <seed> <payloads | programs:<examples>> <program and arguments that answer pairs>…
// Prints a table in Markdown, with the shortest example of each class. Nothing is asserted about the others.

import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { generator } from "../generate.mjs";
import { byJavaScript, canonical } from "../javascript.mjs";
import { programs } from "../programs.mjs";

const [pairs, seed, kind, ...command] = process.argv.slice(2);
const process_ = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "ignore"] });
const lines = createInterface({ input: process_.stdout })[Symbol.asyncIterator]();
async function ask(pair) {
  process_.stdin.write(`${write(pair)}\n`);
  const { value, done } = await lines.next();
  if (done) throw new Error(`the peer ended at ${write(pair)}`);
  return JSON.parse(value);
}

// JSON.stringify writes no −0.
const write = (value) => JSON.stringify(value, (_, v) => (Object.is(v, -0) ? "@-0@" : v)).replaceAll('"@-0@"', "-0");

// What is compared: the value, where it comes from, and the variation.
function expected(pair) {
  const text = write({ ...pair, payload: { ...pair.payload, experiments: undefined } });
  const found = byJavaScript(text);
  if (found.error) return undefined;
  const answers = {};
  for (const [key, { result }] of Object.entries(found.features)) {
    const experiment = result.experimentResult;
    answers[key] = { value: result.value ?? null, source: result.source, variationId: experiment?.variationId ?? null, inExperiment: experiment?.inExperiment ?? null };
  }
  return answers;
}
const same = (a, b) => JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));

// Lists in which a place has a meaning are kept or dropped as a whole.
const WHOLE = new Set(["meta", "ranges", "range", "weights", "variations", "namespace", "contextualVariations"]);

function* smaller(value, path = []) {
  if (!value || typeof value !== "object") return;
  const keys = path[0] === "sticky" ? [] : Object.keys(value);
  if (!(Array.isArray(value) && WHOLE.has(path.at(-1)))) for (const key of keys) if (path.length > 0 || !["payload", "attributes"].includes(key)) yield [...path, key];
  for (const key of keys) if (!WHOLE.has(key)) yield* smaller(value[key], [...path, key]);
}

function without(value, [key, ...rest]) {
  if (Array.isArray(value)) return rest.length ? value.map((v, i) => (i === Number(key) ? without(v, rest) : v)) : value.filter((_, i) => i !== Number(key));
  const copy = { ...value };
  if (rest.length) copy[key] = without(copy[key], rest);
  else delete copy[key];
  return copy;
}

async function shrink(pair, key) {
  const differs = async (candidate) => {
    if (!candidate.payload?.features?.[key]) return false;
    const truth = expected(candidate);
    if (!truth) return false;
    const found = await ask({ ...candidate, only: key });
    return !same(truth[key], found[key] ?? found);
  };
  for (let progress = true, left = 300; progress && left > 0; ) {
    progress = false;
    for (const path of [...smaller(pair)].sort((a, b) => a.length - b.length)) {
      const parent = path.slice(0, -1).reduce((value, step) => value?.[step], pair);
      if (!parent || !Object.hasOwn(parent, path.at(-1))) continue;
      // An empty condition means something else than the one that is made smaller.
      if (path.includes("condition") && path.at(-1) !== "condition" && !Array.isArray(parent) && Object.keys(parent).length === 1) continue;
      left -= 1;
      const candidate = without(pair, path);
      if (await differs(candidate)) { pair = candidate; progress = true; if (Array.isArray(parent)) break; }
      if (left <= 0) break;
    }
  }
  return pair;
}

function operatorsOf(condition, found = new Set()) {
  if (Array.isArray(condition)) condition.forEach((one) => operatorsOf(one, found));
  else if (condition && typeof condition === "object") for (const [key, value] of Object.entries(condition)) { if (key.startsWith("$")) found.add(key); operatorsOf(value, found); }
  return found;
}
const has = (operators, ...names) => names.some((name) => operators.has(name));

// The first that fits what is left of the pair.
function classOf(pair, key, truth, found) {
  if (found.error) return `fails: ${found.error.replace(/ at line.*|`[^`]*`|\d+/g, "").slice(0, 60).trim()}`;
  const extra = [["url", "variation in the URL"], ["forcedFeatures", "forced features"], ["qaMode", "QA mode"], ["enabled", "SDK turned off"], ["forcedVariations", "forced variations"], ["sticky", "sticky units"]].find(([field]) => pair[field] !== undefined);
  if (extra) return extra[1];
  const features = Object.values(pair.payload.features ?? {}).filter(Boolean), rules = features.flatMap((feature) => feature.rules ?? []).filter(Boolean);
  if (rules.some((rule) => rule.contextualBanditRef !== undefined || rule.contextualVariations !== undefined)) return "contextual bandits";
  const conditions = rules.flatMap((rule) => [rule.condition, ...(rule.parentConditions ?? []).map((parent) => parent?.condition)]).concat(pair.payload.savedGroups ?? {});
  const operators = operatorsOf(conditions);
  if (has(operators, "$regex", "$regexi")) return "regular expressions";
  if (has(operators, "$veq", "$vne", "$vlt", "$vlte", "$vgt", "$vgte")) return "comparison of versions";
  if (has(operators, "$inGroup", "$notInGroup", "$savedGroup")) return "saved groups";
  if (has(operators, "$elemMatch", "$all", "$alli", "$size")) return "lists: $all, $elemMatch, $size";
  if (has(operators, "$in", "$nin", "$ini", "$nini")) return "membership: $in and relatives";
  if (has(operators, "$lt", "$lte", "$gt", "$gte")) return "order across types: $lt, $gt and relatives";
  if (has(operators, "$type", "$exists")) return "$type and $exists";
  if (has(operators, "$unknown")) return "operators that do not exist";
  if (rules.some((rule) => rule.parentConditions)) return "prerequisites";
  const tested = JSON.stringify(rules.map((rule) => rule.condition));
  if (rules.some((rule) => rule.condition !== undefined)) {
    if (/"[^"]*\.[^"]*":|"length":/.test(tested)) return "paths into attributes";
    const values = rules.flatMap((rule) => Object.values(rule.condition ?? {})).flatMap((value) => (value && typeof value === "object" && Object.keys(value).some((one) => one.startsWith("$")) ? Object.values(value) : [value]));
    if (values.some((value) => value && typeof value === "object")) return "deep equality";
    if (values.length) return "equality across types";
    return "conditions that are empty";
  }
  if (Object.values(pair.attributes ?? {}).some((value) => typeof value === "boolean" || (value && typeof value === "object"))) return "bucketing: a unit that is true, a list or an object";
  if (Object.values(pair.attributes ?? {}).some((value) => typeof value === "number")) return "bucketing: a unit that is a number";
  const names = new Set(rules.flatMap((rule) => Object.keys(rule)));
  for (const name of ["tracks", "filters", "namespace", "ranges", "range", "weights", "fallbackAttribute", "minBucketVersion", "hashVersion", "coverage", "seed", "hashAttribute", "meta"]) if (names.has(name)) return `bucketing: ${name}`;
  if (names.has("variations")) return "bucketing: experiment without further fields";
  return rules.some((rule) => rule.force === null) ? "a forced value of null" : "other";
}

const next = kind.startsWith("programs") ? programs(Number(seed)) : generator(Number(seed));
function* cases() {
  const directory = kind.split(":")[1];
  for (let made = 0; made < Number(pairs); ) {
    const batch = Array.from({ length: Math.min(2000, Number(pairs) - made) }, next);
    let ready = batch;
    if (directory) {
      const answers = spawnSync(`${directory}/program`, [], { input: batch.map(({ program }) => program).join("\n"), maxBuffer: 2 ** 30 }).stdout.toString().trimEnd().split("\n").map((line) => JSON.parse(line));
      ready = batch.flatMap(({ complete }, i) => (answers[i].payload ? [JSON.stringify(complete(answers[i].payload))] : []));
    }
    for (const line of ready) { yield line; made += 1; if (made >= Number(pairs)) return; }
  }
}

let count = 0, results = 0, disagreements = 0, differing = 0;
const classes = new Map();
for (const line of cases()) {
  const pair = JSON.parse(line);
  count += 1;
  const truth = expected(pair);
  if (!truth) continue;
  const found = await ask(pair);
  let differs = false;
  for (const key of Object.keys(truth)) {
    results += 1;
    if (same(truth[key], found[key] ?? found)) continue;
    disagreements += 1;
    differs = true;
    const least = await shrink({ ...pair, payload: { ...pair.payload, experiments: undefined } }, key);
    const [should, is] = [expected(least)[key], await ask({ ...least, only: key })];
    const answer = is[key] ?? is;
    const name = classOf(least, key, should, answer);
    const entry = classes.get(name) ?? { count: 0, example: "", should, answer };
    const example = write({ ...least, payload: { ...least.payload } });
    if (!entry.example || example.length < entry.example.length) Object.assign(entry, { example, should, answer });
    entry.count += 1;
    classes.set(name, entry);
  }
  if (differs) differing += 1;
}
process_.stdin.end();
const brief = (answer) => (answer.error ? answer.error : `${JSON.stringify(answer.value)} (${answer.source})`).replaceAll("|", "\\|");
console.log(`${kind.split(":")[0]}, seed ${seed}: ${count} pairs, ${results} results, ${disagreements} disagree, in ${differing} pairs\n`);
console.log("| class | results | least example | JavaScript | peer |\n|---|---:|---|---|---|");
for (const [name, { count, example, should, answer }] of [...classes].sort((a, b) => b[1].count - a[1].count)) console.log(`| ${name} | ${count} | \`${example.replaceAll("|", "\\|")}\` | ${brief(should)} | ${brief(answer)} |`);
