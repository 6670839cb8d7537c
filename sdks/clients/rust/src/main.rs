//! Runs every check of the Rust clients and prints one line for each: client, check, result. By `scripts/test-sdks.sh`.
//!
//! In: the programs `EDGE`, `SNAPSHOT` and `EVALUATE`.  Out: a table on standard output; a panic where an answer is another.
//! Start at [`main`].

mod server;

use std::time::{Duration, Instant};

use growthbook_rust::client::{GrowthBookClient, GrowthBookClientBuilder, GrowthBookClientTrait};
use growthbook_rust::model_public::GrowthBookAttribute;
use http::{HeaderMap, HeaderValue};
use open_feature::provider::FeatureProvider;
use open_feature::{EvaluationContext, EvaluationErrorCode};
use open_feature_ofrep::{OfrepOptions, OfrepProvider};
use serde_json::Value;

use crate::server::{Edge, units};

const KEY: &str = "Zvwv/+uhpFDznZ6SX28Yjg==";

fn report(client: &str, check: &str, result: &str) {
    println!("result\t{client}\t{check}\t{result}");
}

fn number_or(value: &Value) -> Value {
    // One library keeps 7.0 where JSON has 7.
    value.as_f64().map_or_else(|| value.clone(), Value::from)
}

async fn growthbook(edge: &Edge, key: &str) -> GrowthBookClient {
    let builder = GrowthBookClientBuilder::new().api_url(edge.url.clone()).client_key(key.to_owned());
    builder.decryption_key(KEY.to_owned()).build().await.unwrap()
}

async fn growthbook_assignments(key: &str) -> String {
    let edge = Edge::start(&[]);
    let client = growthbook(&edge, key).await;
    let units = units(1000);
    let (mut count, mut other) = (0, std::collections::BTreeMap::<String, usize>::new());
    for (unit, expected) in units.iter().zip(edge.expected(&units)) {
        for (key, answer) in expected {
            let attributes = GrowthBookAttribute::from(unit.clone()).unwrap();
            let found = client.feature_result(&key, Some(attributes));
            let result = &answer["result"];
            if number_or(&found.value) == number_or(&result["value"]) {
                count += 1;
            } else {
                *other.entry(key).or_default() += 1;
            }
        }
    }
    assert!(other.is_empty(), "other values, by flag: {other:?}");
    format!("{} units, {count} values equal", units.len())
}

async fn growthbook_update() {
    let mut edge = Edge::start(&[]);
    let every = Some(Duration::from_millis(50));
    let client = GrowthBookClient::new(&edge.url, "sdk-plain", every, None).await.unwrap();
    let expected = edge.publish();
    let began = Instant::now();
    while client.feature_result("motd", None).value != expected.as_str() {
        assert!(began.elapsed() < Duration::from_secs(20), "no update");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn growthbook_unknown_key() {
    let edge = Edge::start(&[]);
    let builder = GrowthBookClientBuilder::new().api_url(edge.url.clone()).client_key("sdk-none".to_owned());
    assert!(builder.build().await.is_err());
}

async fn ofrep(edge: &Edge, token: &str) -> OfrepProvider {
    let mut headers = HeaderMap::new();
    headers.insert("Authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    OfrepProvider::new(OfrepOptions { base_url: edge.url.clone(), headers, ..OfrepOptions::default() }).await.unwrap()
}

fn context(unit: &Value) -> EvaluationContext {
    let mut context = EvaluationContext::default().with_targeting_key(unit["id"].as_str().unwrap());
    for name in ["country", "company"] {
        context = context.with_custom_field(name, unit[name].as_str().unwrap());
    }
    context.with_custom_field("age", unit["age"].as_i64().unwrap())
}

async fn ofrep_assignments() -> String {
    let edge = Edge::start(&[]);
    let provider = ofrep(&edge, "sdk-plain").await;
    let units = units(1000);
    let mut count = 0;
    for (unit, expected) in units.iter().zip(edge.expected(&units)) {
        let context = context(unit);
        for (key, answer) in expected {
            let result = &answer["result"];
            let found: Value = match &result["value"] {
                Value::Bool(_) => provider.resolve_bool_value(&key, &context).await.unwrap().value.into(),
                Value::String(_) => provider.resolve_string_value(&key, &context).await.unwrap().value.into(),
                Value::Number(_) if result["source"] != "cyclicPrerequisite" => {
                    provider.resolve_float_value(&key, &context).await.unwrap().value.into()
                }
                Value::Null | Value::Array(_) | Value::Object(_) | Value::Number(_) => continue,
            };
            assert_eq!(found, number_or(&result["value"]), "{unit}, {key}");
            count += 1;
        }
    }
    format!("{} units, {count} values equal", units.len())
}

async fn ofrep_errors() {
    let edge = Edge::start(&[]);
    let provider = ofrep(&edge, "sdk-plain").await;
    let user = EvaluationContext::default().with_targeting_key("unit-1");
    let code = provider.resolve_bool_value("none", &user).await.unwrap_err().code;
    assert!(matches!(code, EvaluationErrorCode::FlagNotFound), "{code:?}");
    let code = provider.resolve_string_value("checkout", &EvaluationContext::default()).await.unwrap_err().code;
    assert!(matches!(code, EvaluationErrorCode::InvalidContext), "{code:?}");
    // This provider calls another type a parse error.
    let code = provider.resolve_bool_value("motd", &user).await.unwrap_err().code;
    assert!(matches!(code, EvaluationErrorCode::ParseError), "{code:?}");
    for token in ["sdk-none", "sdk-encrypted"] {
        let error = ofrep(&edge, token).await.resolve_string_value("motd", &user).await.unwrap_err();
        assert!(error.message.unwrap_or_default().contains("auth"), "{token}");
    }
}

/// The last of all: the library remembers for the whole process when it may ask again.
async fn ofrep_429() {
    let edge = Edge::start(&["--flags-per-second", "1"]);
    let provider = ofrep(&edge, "sdk-plain").await;
    let user = EvaluationContext::default().with_targeting_key("unit-1");
    for _ in 0..100 {
        if let Err(error) = provider.resolve_string_value("motd", &user).await {
            assert!(error.message.unwrap_or_default().contains("Rate limit"));
            return;
        }
    }
    panic!("100 requests in one second's quota of one");
}

#[tokio::main]
async fn main() {
    let client = "growthbook-rust 0.4.0";
    report(client, "fetch", &growthbook_assignments("sdk-plain").await);
    report(client, "encrypted payload", &growthbook_assignments("sdk-encrypted").await);
    growthbook_update().await;
    report(client, "updates by polling", "ok");
    growthbook_unknown_key().await;
    report(client, "unknown key", "ok");
    let client = "open-feature-ofrep 0.1.2";
    report(client, "assignments", &ofrep_assignments().await);
    ofrep_errors().await;
    report(client, "errors", "404, 400, 401, 403, another type");
    ofrep_429().await;
    report(client, "429", "ok");
}
