// Random programs, as people define them: experiments in layers, holdouts, ramps, allow-lists, winners, phases, sticky units.
// The same seed gives the same programs. What `program` refuses (slots that meet, say) is counted and left out.

import { random } from "./generate.mjs";

const COUNTRIES = ["DE", "FR", "KR", "é", ""];
const PLANS = ["free", "pro", 1, true];
const VERSIONS = ["1.2.3", "1.10.0", "2.0.0-rc.1"];

export function programs(seed) {
  const r = random(seed);
  const maybe = (p, make) => (r.chance(p) ? make() : undefined);
  const unit = () => r.pick([`u${r.int(40)}`, `u${r.int(100000)}`, "é", "用户", "😀", 7, 12.5, true, "", null]);
  const audience = () => r.pick([
    () => ({ country: r.pick(COUNTRIES) }),
    () => ({ country: { $in: r.list(3, () => r.pick(COUNTRIES)) } }),
    () => ({ age: { $gte: r.int(60) }, plan: { $ne: r.pick(PLANS) } }),
    () => ({ version: { [r.pick(["$vgte", "$vlt", "$veq"])]: r.pick(VERSIONS) } }),
    () => ({ $or: [{ country: "DE" }, { email: { $regex: r.pick(["@example\\.com$", "^a", "[0-9]+"]) } }] }),
    () => ({ tags: { $all: ["a"] } }),
    () => ({ $savedGroup: { id: r.pick(["staff", "buyers"]) } }),
    () => ({ id: { [r.pick(["$inGroup", "$notInGroup"])]: "staff" } }),
    () => ({ $not: { plan: r.pick(PLANS) } }),
    () => ({ nested: { $exists: r.chance(0.5) } }),
  ])();

  // Experiments of one layer and one feature share a bag of free slots: most programs then pass the check.
  const program = () => {
    const layers = r.list(2, () => 0).map((_, i) => ({ name: `layer${i}`, hash_attribute: maybe(0.4, () => r.pick(["id", "deviceId"])), seed: maybe(0.3, () => r.pick(["s", "é"])) }));
    const free = Object.fromEntries(layers.map((layer) => [layer.name, 0]));
    const holdouts = r.list(2, () => 0).map((_, i) => ({ key: `holdout${i}`, share: r.pick([0, 0.05, 0.2, 0.5, 1, Math.round(r.next() * 1e4) / 1e4]), hash_attribute: maybe(0.3, () => "deviceId"), seed: maybe(0.3, () => "year") }));
    const defaults = { shared: r.pick([false, 0, "off", { size: 1 }]), other: null };
    const experiment = (_, i) => {
      const feature = maybe(0.7, () => r.pick(["shared", "other"]));
      const variants = Array.from({ length: 2 + r.int(3) }, (_, v) => ({
        key: `v${v}`,
        weight: maybe(0.4, () => r.pick([0, 1, 2, 0.5, r.next()])),
        value: v === 0 ? (feature ? defaults[feature] : false) : r.pick([true, v, `value ${v}`, { size: v }, [v], null, "é"]),
      }));
      const slots = layers.filter(() => r.chance(0.4)).map(({ name }) => {
        const start = Math.min(9999, free[name] + r.int(2000)), end = Math.min(10000, start + 1 + r.int(6000));
        free[name] = r.chance(0.95) ? end : start;
        return { layer: name, start: start / 10000, end: end / 10000 };
      });
      const phase = r.pick([0, 0, 1, 2, 3]);
      return {
        key: `e${i}`, feature, variants, slots, phase,
        hash_attribute: maybe(0.4, () => r.pick(["id", "deviceId", "country", "age"])),
        coverage: maybe(0.5, () => r.pick([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1, r.next()])),
        audience: maybe(0.5, audience),
        holdout: maybe(0.4, () => (holdouts.length ? r.pick(holdouts).key : undefined)),
        seed: maybe(0.3, () => r.pick(["s", "é", "", "用户"])),
        sticky: maybe(0.4, () => ({ fallback_attribute: maybe(0.6, () => "deviceId"), first_phase: r.int(phase + 1) })),
        allow_list: maybe(0.3, () => Object.fromEntries(r.list(3, () => [String(unit() ?? "x"), `v${r.int(2)}`]))),
        winner: maybe(0.15, () => `v${r.int(2)}`),
        paused: maybe(0.1, () => true),
      };
    };
    const experiments = Array.from({ length: 1 + r.int(5) }, experiment);
    const savedGroups = { staff: { type: "list", attributeKey: "id", values: r.list(8, () => `u${r.int(40)}`) }, buyers: { type: "condition", condition: { plan: "pro" } } };
    return { experiments, layers, holdouts, savedGroups };
  };

  const attributes = () => ({
    id: maybe(0.9, unit), deviceId: maybe(0.6, unit), country: maybe(0.8, () => r.pick(COUNTRIES)), age: maybe(0.7, () => r.pick([17, 18, 31, 59.5, "31", 0])),
    plan: maybe(0.7, () => r.pick(PLANS)), version: maybe(0.5, () => r.pick(VERSIONS)), email: maybe(0.4, () => r.pick(["a@example.com", "b7@x.org", ""])),
    tags: maybe(0.4, () => r.list(3, () => r.pick(["a", "b", "c"]))), nested: maybe(0.2, () => ({ a: 1 })),
  });

  // What an earlier phase may have left behind.
  const sticky = (program, unit) => {
    const documents = {};
    for (const attributeName of ["id", "deviceId"]) {
      const raw = unit[attributeName];
      if (!raw || r.chance(0.3)) continue;
      const attributeValue = String(raw);
      const assignments = Object.fromEntries(r.list(3, () => [`${r.pick(program.experiments).key}__${r.int(4)}`, r.pick(["v0", "v1", "v2", "gone"])]));
      documents[`${attributeName}||${attributeValue}`] = { attributeName, attributeValue, assignments };
    }
    return documents;
  };

  return () => {
    const made = program(), unit = attributes();
    const documents = maybe(0.5, () => sticky(made, unit));
    const complete = (payload) => ({ payload, attributes: unit, sticky: documents, forcedVariations: maybe(0.05, () => ({ e0: r.int(3) })), qaMode: maybe(0.02, () => true) });
    return { program: JSON.stringify(made), complete };
  };
}
