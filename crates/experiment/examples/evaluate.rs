//! Evaluates features line by line, beside which another SDK can be put.
//!
//! In: NDJSON on standard input, `{payload, attributes, url, forcedVariations, forcedFeatures, sticky, qaMode, enabled}`, the last six optional.
//! Out: NDJSON, `{features: {key: {result, exposures, sticky}}, experiments: [the same]}`, or `{error}`.
//! Never here: comparing (see `sdks/differential`).
//! Start at `main`.

use std::io::{BufRead, Write};

use experiment::assign::{Compiled, Context, Log, Object, Payload, StickyDocuments, Value};

fn field<'a>(input: &'a Object, name: &str) -> Option<&'a Value> {
    input.get(name).filter(|value| !value.is_null())
}

fn object(fields: Vec<(&str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn answer(result: Value, log: &Log<'_>) -> Result<Value, Box<dyn std::error::Error>> {
    let exposures = log.exposures().map(|exposure| {
        let (experiment, result) = exposure.to_json();
        Value::Array(vec![experiment, result])
    });
    let sticky = serde_json::from_str(&serde_json::to_string(log.sticky_documents())?)?;
    Ok(object(vec![("result", result), ("exposures", Value::Array(exposures.collect())), ("sticky", sticky)]))
}

fn evaluate(line: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let input = Object::parse(line)?;
    let empty = Object::default();
    let payload: Compiled =
        Payload::compile_object(field(&input, "payload").and_then(Value::as_object).unwrap_or(&empty))?;
    let sticky: Option<StickyDocuments> =
        field(&input, "sticky").map(|value| serde_json::from_str(&serde_json::to_string(value)?)).transpose()?;
    let context = Context {
        url: field(&input, "url").and_then(Value::as_str).unwrap_or_default(),
        forced_variations: field(&input, "forcedVariations").and_then(Value::as_object),
        forced_features: field(&input, "forcedFeatures").and_then(Value::as_object),
        sticky: sticky.as_ref(),
        qa_mode: input.get("qaMode") == Some(&Value::Bool(true)),
        enabled: input.get("enabled") != Some(&Value::Bool(false)),
        ..Context::new(field(&input, "attributes").and_then(Value::as_object).unwrap_or(&empty))
    };
    let mut features = Vec::new();
    for key in payload.features() {
        let mut log = Log::new();
        let result = payload.evaluate(key, &context, &mut log);
        features.push((key, answer(result.to_json(), &log)?));
    }
    let mut experiments = Vec::new();
    for experiment in payload.experiments() {
        let mut log = Log::new();
        let result = payload.run(experiment, &context, &mut log);
        experiments.push(answer(result.to_json(), &log)?);
    }
    Ok(object(vec![("features", object(features)), ("experiments", Value::Array(experiments))]))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let result =
            evaluate(&line?).unwrap_or_else(|error| object(vec![("error", Value::from(error.to_string().as_str()))]));
        serde_json::to_writer(&mut out, &result)?;
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
