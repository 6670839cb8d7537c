//! Answers pairs with the crate `growthbook-rust`, a line of JSON each.
//!
//! In: `{payload, attributes, forcedVariations, sticky, only}`; other fields of a pair have no place in its interface.
//! Out: `{feature: {value, source, variationId, inExperiment} | {error}}`.
//! Never here: comparing (see `compare.mjs`).
//! Start at `answer`.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use growthbook_rust::client::GrowthBookClientBuilder;
use growthbook_rust::model_public::GrowthBookAttribute;
use growthbook_rust::sticky_bucket::{InMemoryStickyBucketService, StickyBucketService};
use serde_json::{Value, json};

fn sticky(documents: &Value) -> Arc<dyn StickyBucketService> {
    let service = InMemoryStickyBucketService::new();
    for document in documents.as_object().into_iter().flatten().map(|(_, document)| document) {
        let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
        let assignments: HashMap<String, String> =
            serde_json::from_value(document["assignments"].clone()).unwrap_or_default();
        service.save_assignments(&text("attributeName"), &text("attributeValue"), assignments);
    }
    Arc::new(service)
}

fn answer(pair: &Value, runtime: &tokio::runtime::Runtime) -> Result<Value, String> {
    let features = pair["payload"]["features"].clone();
    let keys: Vec<String> = match pair["only"].as_str() {
        Some(key) => vec![key.to_owned()],
        None => features.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect(),
    };
    GrowthBookClientBuilder::new().features_json(features).map_err(|error| error.to_string())?;
    let attributes = GrowthBookAttribute::from(pair["attributes"].clone()).map_err(|error| error.to_string())?;
    let forced: Option<HashMap<String, i64>> = serde_json::from_value(pair["forcedVariations"].clone()).unwrap_or(None);
    let mut answers = serde_json::Map::new();
    for key in keys {
        let builder = || {
            let again = GrowthBookClientBuilder::new().features_json(pair["payload"]["features"].clone());
            let again = again.map(|again| again.saved_groups(pair["payload"]["savedGroups"].clone()));
            again.map(|again| {
                if pair["sticky"].is_object() { again.sticky_bucket_service(sticky(&pair["sticky"])) } else { again }
            })
        };
        let found = catch_unwind(AssertUnwindSafe(|| {
            let client = runtime.block_on(builder().ok()?.build()).ok()?;
            let mut growthbook = client.gb.write().ok()?;
            growthbook.forced_variations = forced.clone();
            Some(growthbook.check(&key, &Some(attributes.clone())))
        }));
        let answer = match found {
            Ok(Some(result)) => {
                let experiment = result.experiment_result.as_ref();
                json!({
                    "value": result.value, "source": result.source,
                    "variationId": experiment.map(|one| one.variation_id), "inExperiment": experiment.map(|one| one.in_experiment),
                })
            }
            Ok(None) => json!({"error": "could not be set up"}),
            Err(_) => json!({"error": "panic"}),
        };
        answers.insert(key, answer);
    }
    Ok(Value::Object(answers))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let found =
            serde_json::from_str(&line?).map_err(|error| error.to_string()).and_then(|pair| answer(&pair, &runtime));
        let answer = found.unwrap_or_else(|error| json!({"error": error}));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}
