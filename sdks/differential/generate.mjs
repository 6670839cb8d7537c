// Random payloads and units. The same seed gives the same pairs.

export function random(seed) {
  // splitmix32
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  };
  const int = (n) => Math.floor(next() * n);
  return { next, int, pick: (list) => list[int(list.length)], chance: (p) => next() < p, list: (n, f) => Array.from({ length: int(n + 1) }, f) };
}

const TEXTS = ["", "a", "b", "DE", "de", "1", "10", "5", "2.5", "0x10", " 7 ", "true", "null", "é", "É", "用户", "😀", "ß", "SS", "ſ", "k", "\u212a", "a-b", "hello world", "user@example.com", "1.2.3", "v1.2.3-rc.1", "1.10.0", "2.0.0+build", "[object Object]", "1,2", "line\nend", "\u2028", "\uff5e", "İ", "ΑΣ", "-0", "Infinity", "1e3"];
const NUMBERS = [0, 1, 2, 5, 10, -1, 1.5, 2.5, 0.1, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 9007199254740993, 123456789012, "@-0@"];
const NAMES = ["id", "deviceId", "country", "age", "plan", "version", "tags", "nested", "email", "flag", "0", "é", "missing"];
const PATHS = [...NAMES, "nested.a", "nested.b.c", "nested.list", "nested.list.0", "tags.0", "tags.1", "tags.length", "tags.01", "missing.x", "country.length", "a.b", ""];
const VERSIONS = ["1.2.3", "1.10.0", "v1.2.3-rc.1", "1.0", "2.0.0+build", "1.2.3-beta", "10", "", 2, 1.5, null, true, "99999.100000.1", "a.b-c+d+e"];

export function generator(seed) {
  const r = random(seed);
  const atom = () => (r.chance(0.55) ? r.pick(TEXTS) : r.chance(0.6) ? r.pick(NUMBERS) : r.pick([true, false, null]));
  const value = (depth = 2) => {
    if (depth === 0 || r.chance(0.75)) return atom();
    return r.chance(0.5) ? r.list(3, () => value(depth - 1)) : object(depth);
  };
  const object = (depth) => Object.fromEntries(r.list(3, () => [r.pick(["a", "b", "c", "list", "1", "0", "x"]), value(depth - 1)]));

  // Patterns without look-around and back-references; some are no patterns at all.
  const regexAtom = (depth) => r.pick([
    () => r.pick(["a", "b", "é", "É", "😀", "ß", "s", "S", "k", "K", "σ", "ς", "Σ", "µ", "-", " ", "1", ",", "/", "@", "_"]),
    () => r.pick([".", "\\d", "\\D", "\\w", "\\W", "\\s", "\\S", "\\b", "\\B", "^", "$"]),
    () => r.pick(["\\n", "\\t", "\\x41", "\\u0041", "\\u{2}", "\\cA", "\\c", "\\0", "\\101", "\\8", "\\p", "\\-", "\\.", "\\/", "\\ud83d", "\\ude00", "\\k"]),
    () => r.pick(["[a-z]", "[^a-z]", "[\\d-x]", "[😀]", "[^😀]", "[]", "[^]", "[\\b]", "[é-ü]", "[A-z]", "[\\w.]", "[^\\W_]", "[\\S\\s]", "[-a]", "[a-]", "[\\c1]", "[σ]", "[\\u00e0-\\u00ff]"]),
    () => r.pick(["{", "}", "]", "{,2}", "{a}", "(", ")", "[", "*", "\\", "{1}"]),
    () => (depth > 0 ? `${r.pick(["(", "(?:", "(?<n>"])}${regex(depth - 1)})` : "a"),
  ].flatMap((f, i) => Array(i === 4 ? 1 : 5).fill(f)))();
  const regex = (depth = 2) => {
    const term = () => regexAtom(depth) + (r.chance(0.3) ? r.pick(["*", "+", "?", "{2}", "{1,}", "{0,2}", "*?", "{2,1}"]) : "");
    const sequence = () => r.list(4, term).join("");
    return r.chance(0.2) ? `${sequence()}|${sequence()}` : sequence();
  };
  const pattern = () => (r.chance(0.5) ? r.pick(["^a", "b$", "^\\d+$", "(Mobile|Tablet)", "^[^@]+@[^@]+$", "", ".", "^.$", "^..$", "é", "É", "/a/", "null", "1,2", "/???***[)"]) : regex());

  const operator = (depth) => {
    const name = r.pick(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte", "$in", "$nin", "$ini", "$nini", "$all", "$alli", "$elemMatch", "$size", "$exists", "$type", "$regex", "$regexi", "$veq", "$vne", "$vlt", "$vlte", "$vgt", "$vgte", "$inGroup", "$notInGroup", "$not", "$unknown"]);
    const odd = r.chance(0.03);
    switch (name) {
      case "$in": case "$nin": case "$ini": case "$nini": return [name, odd ? atom() : r.list(5, value)];
      case "$all": case "$alli": return [name, odd ? atom() : r.list(2, () => test(depth - 1))];
      case "$elemMatch": return [name, r.chance(0.5) ? operators(depth - 1) : condition(depth - 1)];
      case "$size": case "$not": return [name, test(depth - 1)];
      case "$exists": return [name, r.chance(0.8) ? r.chance(0.5) : atom()];
      case "$type": return [name, r.pick(["string", "number", "boolean", "array", "object", "null", "undefined", "x", 5])];
      case "$regex": case "$regexi": return [name, odd ? r.pick([5, true, {}]) : pattern()];
      case "$inGroup": case "$notInGroup": return [name, r.pick(["list", "plain", "group", "loop", "broken", "absent", 5])];
      case "$veq": case "$vne": case "$vlt": case "$vlte": case "$vgt": case "$vgte": return [name, r.pick(VERSIONS)];
      default: return [name, value()];
    }
  };
  const operators = (depth) => Object.fromEntries([operator(depth), ...r.list(1, () => operator(depth))]);
  const test = (depth) => {
    if (depth <= 0 || r.chance(0.25)) return value();
    const tests = operators(depth);
    return r.chance(0.03) ? { ...tests, plain: 1 } : tests;
  };
  const reference = () => r.pick([{ id: "list" }, { id: "list", attributeKey: r.pick(PATHS) }, { id: "group" }, { id: "loop" }, { id: "chain" }, { id: "plain" }, { id: "broken" }, { id: "absent" }, { id: "list", attributeKey: null }, {}, 5, null, []]);
  const clause = (depth) => {
    if (depth > 0 && r.chance(0.35)) {
      const name = r.pick(["$or", "$and", "$nor", "$not", "$savedGroup"]);
      if (name === "$savedGroup") return [name, reference()];
      return [name, name === "$not" ? condition(depth - 1) : r.list(3, () => condition(depth - 1))];
    }
    return [r.pick(PATHS), test(depth)];
  };
  const condition = (depth = 3) => Object.fromEntries(r.list(2, () => clause(depth)));

  const savedGroups = () => ({
    list: { type: "list", attributeKey: r.pick(PATHS), values: r.list(6, atom) },
    plain: r.list(6, atom),
    group: { type: "condition", condition: condition(2) },
    loop: { type: "condition", condition: { $or: [condition(1), { $savedGroup: { id: "chain" } }] } },
    chain: { type: "condition", condition: { $not: { $savedGroup: { id: r.pick(["loop", "group", "list"]) } } } },
    broken: r.pick([{ type: "list", values: 5 }, { type: "other" }, null, { type: "condition", condition: 5 }, "x", 7]),
  });

  const range = () => { const a = r.next(), b = r.next(); return r.chance(0.9) ? [Math.min(a, b), Math.max(a, b)] : [a, b]; };
  const maybe = (p, make) => (r.chance(p) ? make() : undefined);
  const version = () => r.pick([1, 2, 2, 2, 0, 3]);
  const filters = () => r.list(2, () => ({ seed: r.pick(["s", "layer", "é", ""]), ranges: r.list(2, () => (r.chance(0.5) ? [0, 0.9] : range())), attribute: maybe(0.3, () => r.pick(NAMES)), hashVersion: maybe(0.3, version) }));
  const parents = (keys) => r.list(2, () => ({ id: r.pick(keys), condition: r.chance(0.4) ? { value: { $exists: true } } : r.chance(0.5) ? { value: test(2) } : condition(2), gate: maybe(0.5, () => r.chance(0.7)) }));
  const weights = (n) => {
    if (r.chance(0.1)) return r.list(4, () => r.next());
    const raw = Array.from({ length: n }, () => r.next() + 0.01), sum = raw.reduce((a, b) => a + b, 0);
    return raw.map((w) => w / sum);
  };
  const meta = (n) => Array.from({ length: n }, (_, i) => ({ key: r.pick([String(i), `v${i}`, "", undefined]), name: maybe(0.4, () => `arm ${i}`), passthrough: maybe(0.15, () => r.chance(0.8)) }));
  const arms = () => r.pick([0, 1, 2, 2, 2, 3, 4]);

  const experimentFields = (n) => ({
    coverage: maybe(0.4, () => r.pick([0, 0.5, 1, 1.5, -1, r.next()])),
    weights: maybe(0.5, () => weights(n)),
    hashAttribute: maybe(0.5, () => r.pick(["id", "deviceId", "age", "flag", "tags", "missing", ""])),
    fallbackAttribute: maybe(0.3, () => r.pick(["deviceId", "id", "missing"])),
    hashVersion: maybe(0.7, version),
    ranges: maybe(0.15, () => Array.from({ length: n + r.int(2) }, range)),
    meta: n > 0 ? maybe(0.5, () => meta(n)) : undefined,
    filters: maybe(0.2, filters),
    seed: maybe(0.5, () => r.pick(["seed", "é", "", "s2"])),
    namespace: maybe(0.2, () => ["ns", ...range()]),
    name: maybe(0.3, () => r.pick(["Name", ""])),
    phase: maybe(0.3, () => r.pick(["0", "1", ""])),
    condition: maybe(0.3, () => condition()),
    disableStickyBucketing: maybe(0.2, () => r.chance(0.7)),
    bucketVersion: maybe(0.4, () => r.int(4)),
    minBucketVersion: maybe(0.3, () => r.int(3)),
  });

  const tracks = () => r.list(2, () => ({ experiment: { key: r.pick(["t1", "t2"]), variations: ["a", "b"] }, result: { hashAttribute: "id", hashValue: r.pick(["u", 5]), variationId: r.int(2), key: "0", inExperiment: true } }));

  const rule = (keys) => {
    const common = { id: maybe(0.5, () => `rule${r.int(9)}`), parentConditions: maybe(0.25, () => parents(keys)), filters: maybe(0.15, filters) };
    if (r.chance(0.4)) {
      return { ...common, force: value(), condition: maybe(0.7, () => condition()), coverage: maybe(0.4, () => r.pick([0, 0.5, 1, r.next()])), range: maybe(0.2, range), seed: maybe(0.3, () => r.pick(["seed", ""])), hashAttribute: maybe(0.4, () => r.pick(NAMES)), fallbackAttribute: maybe(0.2, () => "deviceId"), hashVersion: maybe(0.4, version), disableStickyBucketing: maybe(0.1, () => true), tracks: maybe(0.2, tracks) };
    }
    if (r.chance(0.03)) return common;
    const n = arms();
    const variations = Array.from({ length: n }, () => value());
    const bandit = r.chance(0.2);
    const own = experimentFields(n);
    return { ...own, ...common, filters: common.filters ?? own.filters, key: maybe(0.7, () => r.pick(["exp1", "exp2", "é", ""])), [bandit && r.chance(0.5) ? "contextualVariations" : "variations"]: variations, contextualBanditRef: bandit ? r.pick(["cb", "absent", ""]) : undefined };
  };

  const bandits = () => ({ cb: { banditVersion: maybe(0.8, () => r.pick([1, 7, "v2"])), contexts: maybe(0.9, () => r.list(3, (_, i) => ({ leafId: r.int(9), condition: maybe(0.8, () => condition(2)), weights: maybe(0.9, () => weights(r.pick([2, 2, 3]))) }))) } });

  const urlPattern = () => ({ type: r.pick(["simple", "simple", "regex", "other"]), include: r.pick([true, true, false, undefined]), pattern: r.pick(["*", "/a", "/a/*", "example.com/*", "https://example.com/a?x=*", "*.com/a", "/a#top", "^/a", "(", "example\\.com", "https://EXAMPLE.com/A/", "http://*/b?x=1&y=*", "/é", "", "a b"]) });
  const url = () => r.pick(["", "https://example.com/a", "https://example.com/a?x=1#top", "http://example.com:8080/b?x=1&y=2", "https://www.example.com/A/b/?exp1=1", "https://example.com/?exp1=0x1&exp2=abc", "/a?exp2=1#x", "nonsense", "http://", "https://example.com/%C3%A9?x=%20", "https://example.com/a?exp1=9", "https://example.com/a?a=1?exp1=1", "mailto:a@b", "https://example.com/a?exp1=1=2&exp1=0"]);
  const ownExperiment = (keys) => {
    const n = arms();
    return { key: r.pick(["exp1", "exp2", "é"]), variations: Array.from({ length: n }, () => (r.chance(0.5) ? { urlRedirect: "https://example.com/new" } : value())), ...experimentFields(n), urlPatterns: maybe(0.6, () => r.list(3, urlPattern)), parentConditions: maybe(0.3, () => parents(keys)), status: maybe(0.3, () => r.pick(["draft", "running", "stopped"])), active: maybe(0.2, () => r.chance(0.5)), force: maybe(0.15, () => r.pick([-1, 0, 1, 5])) };
  };

  const attributes = () => {
    const out = {};
    for (const name of NAMES) if (name !== "missing" && r.chance(0.75)) out[name] = value();
    if (r.chance(0.8)) out.id = r.pick(["u1", "u2", `u${r.int(1000)}`, "é", "用户", "😀", 7, 12.5, true, ["a", 1], "", 0, null, "@-0@"]);
    if (r.chance(0.6)) out.tags = r.list(4, () => value(1));
    if (r.chance(0.6)) out.nested = { a: value(), b: r.chance(0.7) ? { c: value() } : value(), list: r.list(3, () => value(1)) };
    if (r.chance(0.4)) out.version = r.pick(VERSIONS);
    return out;
  };
  const stickyDocuments = (attributes) => {
    const documents = {};
    for (const attributeName of ["id", "deviceId", "age"]) {
      const raw = attributes[attributeName];
      if (!raw || raw === "@-0@" || r.chance(0.3)) continue;
      const attributeValue = typeof raw === "string" ? raw : JSON.stringify(raw).replaceAll(`"@-0@"`, "0");
      const assignments = Object.fromEntries(r.list(3, () => [`${r.pick(["exp1", "exp2", "f0", "f1"])}__${r.int(3)}`, r.pick(["0", "1", "v0", "v1", "", "gone"])]));
      documents[`${attributeName}||${attributeValue}`] = { attributeName, attributeValue, assignments };
    }
    return documents;
  };

  // One attribute and a test of it per feature: what deep conditions rarely get to.
  const tests = () => {
    const feature = (test) => ({ defaultValue: false, rules: [{ condition: { x: test }, force: true }] });
    const features = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`t${i}`, feature(r.chance(0.8) ? operators(2) : value())]));
    const x = r.chance(0.3) ? r.pick(VERSIONS) : value();
    return { payload: { features, savedGroups: savedGroups() }, attributes: r.chance(0.95) ? { x } : {} };
  };

  const plain = () => {
    const keys = ["f0", "f1", "f2", "f3", "absent"];
    const features = {};
    for (const key of keys.slice(0, 1 + r.int(4))) features[key] = { defaultValue: maybe(0.9, value), rules: maybe(0.95, () => r.list(4, () => rule(keys))) };
    const unit = attributes();
    const pair = {
      payload: { features, savedGroups: savedGroups(), contextualBandits: bandits(), experiments: maybe(0.4, () => r.list(2, () => ownExperiment(keys))) },
      attributes: unit,
      url: maybe(0.4, url),
      forcedVariations: maybe(0.15, () => ({ [r.pick(["exp1", "exp2"])]: r.pick([0, 1, 2, -1, 7]) })),
      forcedFeatures: maybe(0.1, () => ({ [r.pick(keys)]: value() })),
      sticky: maybe(0.4, () => stickyDocuments(unit)),
      qaMode: maybe(0.05, () => true),
      enabled: maybe(0.05, () => false),
    };
    return pair;
  };

  return () => {
    const pair = r.chance(0.2) ? tests() : plain();
    // JSON.stringify writes no −0.
    return JSON.stringify(pair).replaceAll('"@-0@"', "-0");
  };
}
