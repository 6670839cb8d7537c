//! The conformance cases of GrowthBook's SDKs, read as data: whatever case is added to the file is run.
//!
//! In: `fixtures/growthbook_cases.json`.  Out: a count per section.
//! Never here: cases of our own (see the modules of `assign`).
//! Start at `every_case_passes`.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use experiment::assign::{
    Compiled, Context, Log, Object, Payload, StickyDocument, StickyDocuments, Value, decrypt, hash, merge_query,
    query_override,
};

type Case<'a> = &'a [Value];

fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    value.as_object().and_then(|object| object.get(name)).unwrap_or(&NULL)
}

fn truth(value: &Value) -> bool {
    *value == Value::Bool(true)
}

fn object(fields: Vec<(&str, Value)>) -> Object {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Expected fields are compared, others are not; nested objects too. Numbers are compared exactly.
fn differences(at: &str, expected: &Value, actual: &Value, out: &mut Vec<String>) {
    if let (Value::Object(expected), Value::Object(_)) = (expected, actual) {
        expected
            .iter()
            .for_each(|(name, expected)| differences(&format!("{at}.{name}"), expected, field(actual, name), out));
    } else if expected != actual {
        out.push(format!("{at}: expected {expected:?}, got {actual:?}"));
    }
}

fn compare(expected: &Value, actual: &Value) -> Result<(), String> {
    let mut out = Vec::new();
    differences("", expected, actual, &mut out);
    if out.is_empty() { Ok(()) } else { Err(out.join("; ")) }
}

fn check<T: PartialEq + std::fmt::Debug>(expected: T, actual: T) -> Result<(), String> {
    if expected == actual { Ok(()) } else { Err(format!("expected {expected:?}, got {actual:?}")) }
}

/// A payload and a unit, as the fixture's contexts hold both.
struct World {
    payload: Compiled,
    attributes: Object,
    forced: Option<Object>,
    url: String,
    qa_mode: bool,
    enabled: bool,
    sticky: Option<StickyDocuments>,
}

impl World {
    fn new(context: &Value, experiments: Option<&Value>) -> Self {
        let mut payload = vec![];
        for name in ["features", "savedGroups", "contextualBandits", "experiments"] {
            payload.push((name, field(context, name).clone()));
        }
        if let Some(experiment) = experiments {
            payload.push(("experiments", Value::Array(vec![experiment.clone()])));
        }
        Self {
            payload: Payload::compile_object(&object(payload)).unwrap(),
            attributes: field(context, "attributes").as_object().cloned().unwrap_or_default(),
            forced: field(context, "forcedVariations").as_object().cloned(),
            url: field(context, "url").as_str().unwrap_or_default().to_owned(),
            qa_mode: truth(field(context, "qaMode")),
            enabled: *field(context, "enabled") != Value::Bool(false),
            sticky: None,
        }
    }

    fn context(&self) -> Context<'_> {
        Context {
            url: &self.url,
            forced_variations: self.forced.as_ref(),
            sticky: self.sticky.as_ref(),
            qa_mode: self.qa_mode,
            enabled: self.enabled,
            ..Context::new(&self.attributes)
        }
    }
}

fn condition(case: Case<'_>) -> Result<(), String> {
    let rule = object(vec![("condition", case[1].clone()), ("force", Value::Bool(true))]);
    let feature =
        object(vec![("defaultValue", Value::Bool(false)), ("rules", Value::Array(vec![Value::Object(rule)]))]);
    let groups = case.get(4).cloned().unwrap_or(Value::Null);
    let context = object(vec![
        ("attributes", case[2].clone()),
        ("savedGroups", groups),
        ("features", Value::Object(object(vec![("f", Value::Object(feature))]))),
    ]);
    let world = World::new(&Value::Object(context), None);
    let mut log = Log::new();
    check(truth(&case[3]), world.payload.evaluate("f", &world.context(), &mut log).is_on())
}

fn hashes(case: Case<'_>) -> Result<(), String> {
    let version = hash::HashVersion::of(case[2].as_number().unwrap());
    check(case[3].as_number(), hash::bucket(case[0].as_str().unwrap(), &case[1], version))
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_number).collect()
}

fn bucket_range(case: Case<'_>) -> Result<(), String> {
    let arguments = case[1].as_array().unwrap();
    let weights = numbers(&arguments[2]);
    let ranges = hash::bucket_ranges(
        arguments[0].as_number().unwrap() as usize,
        arguments[1].as_number().unwrap(),
        weights.as_deref(),
    );
    let rounded = |number: f64| (number * 1e6).round() / 1e6;
    let actual: Vec<_> = ranges.iter().map(|range| vec![rounded(range.start), rounded(range.end)]).collect();
    let expected = case[2]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| numbers(range).unwrap().into_iter().map(rounded).collect())
        .collect();
    check(expected, actual)
}

fn feature(case: Case<'_>) -> Result<(), String> {
    let world = World::new(&case[1], None);
    let mut log = Log::new();
    compare(&case[3], &world.payload.evaluate(case[2].as_str().unwrap(), &world.context(), &mut log).to_json())
}

fn run(case: Case<'_>) -> Result<(), String> {
    let world = World::new(&case[1], Some(&case[2]));
    let mut log = Log::new();
    let result = world.payload.run(&world.payload.experiments()[0], &world.context(), &mut log);
    check((&case[3], truth(&case[4]), truth(&case[5])), (result.value, result.in_experiment, result.hash_used))
}

fn choose(case: Case<'_>) -> Result<(), String> {
    let range = |range: &Value| numbers(range).map(|range| hash::Range { start: range[0], end: range[1] });
    let ranges: Vec<_> = case[2].as_array().unwrap().iter().filter_map(range).collect();
    check(case[3].as_number(), Some(hash::choose(case[1].as_number().unwrap(), &ranges).map_or(-1.0, |i| i as f64)))
}

fn query_string(case: Case<'_>) -> Result<(), String> {
    let actual =
        query_override(case[1].as_str().unwrap(), case[2].as_str().unwrap(), case[3].as_number().unwrap() as usize);
    check(case[4].as_number(), actual.map(|i| i as f64))
}

fn namespace(case: Case<'_>) -> Result<(), String> {
    let slot = case[2].as_array().unwrap();
    let range = hash::Range { start: slot[1].as_number().unwrap(), end: slot[2].as_number().unwrap() };
    check(truth(&case[3]), hash::Namespace::new(slot[0].as_str().unwrap(), range).contains(&case[1]))
}

fn equal_weights(case: Case<'_>) -> Result<(), String> {
    let rounded =
        |numbers: Vec<f64>| numbers.into_iter().map(|number| (number * 1e8).round() / 1e8).collect::<Vec<_>>();
    let count = case[0].as_number().unwrap().max(0.0) as usize;
    check(rounded(numbers(&case[1]).unwrap()), rounded(hash::equal_weights(count)))
}

fn decrypted(case: Case<'_>) -> Result<(), String> {
    check(case[3].as_str().map(str::to_owned), decrypt(case[1].as_str().unwrap(), case[2].as_str().unwrap()).ok())
}

fn sticky(case: Case<'_>) -> Result<(), String> {
    let read = |value: &Value| serde_json::from_str::<StickyDocument>(&serde_json::to_string(value).unwrap()).unwrap();
    let mut world = World::new(&case[1], None);
    let before: StickyDocuments = case[2].as_array().unwrap().iter().map(read).collect();
    world.sticky = Some(before.clone());
    let mut log = Log::new();
    let result = world.payload.evaluate(case[3].as_str().unwrap(), &world.context(), &mut log);
    match (&case[4], &result.result) {
        (Value::Null, None) => {}
        (expected, Some(result)) => compare(expected, &result.to_json())?,
        (expected, None) => return Err(format!("expected {expected:?}, got no experiment")),
    }
    let mut after = before;
    after.0.extend(log.sticky_documents().iter().map(|document| (document.key(), document.clone())));
    // The fixture's service hands out only what belongs to the unit.
    let expected = case[5].as_object().unwrap();
    let expected: StickyDocuments = expected.iter().map(|(_, document)| read(document)).collect();
    after.0.retain(|key, _| {
        expected.0.contains_key(key) || log.sticky_documents().iter().any(|document| document.key() == *key)
    });
    check(expected, after)
}

fn redirect(case: Case<'_>) -> Result<(), String> {
    let world = World::new(&case[1], None);
    let mut log = Log::new();
    let (result, address) = world.payload.redirect(&world.context(), &mut log).ok_or("no redirect")?;
    let actual = object(vec![
        ("inExperiment", Value::Bool(result.in_experiment)),
        ("urlRedirect", field(result.value, "urlRedirect").clone()),
        ("urlWithParams", address.as_deref().map_or(Value::Null, Value::from)),
    ]);
    check(merge_query("nowhere", "else"), "else".to_owned())?;
    compare(&case[2].as_array().unwrap()[0], &Value::Object(actual))
}

#[test]
fn every_case_passes() {
    let fixture = Object::parse(include_str!("fixtures/growthbook_cases.json")).unwrap();
    let mut failures = Vec::new();
    for (section, cases) in fixture.iter().filter(|(name, _)| *name != "specVersion") {
        let test = match section {
            "evalCondition" => condition,
            "hash" => hashes,
            "getBucketRange" => bucket_range,
            "feature" | "contextualBandit" => feature,
            "run" => run,
            "chooseVariation" => choose,
            "getQueryStringOverride" => query_string,
            "inNamespace" => namespace,
            "getEqualWeights" => equal_weights,
            "decrypt" => decrypted,
            "stickyBucket" => sticky,
            "urlRedirect" => redirect,
            _ => panic!("no test reads the section `{section}`"),
        };
        let cases = cases.as_array().unwrap();
        let failed = cases.iter().enumerate().filter_map(|(i, case)| Some((i, test(case.as_array().unwrap()).err()?)));
        let before = failures.len();
        failures.extend(failed.map(|(i, why)| format!("{section} {i} {:?}: {why}", cases[i].as_array().unwrap()[0])));
        eprintln!("{section}: {} of {}", cases.len() - (failures.len() - before), cases.len());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
