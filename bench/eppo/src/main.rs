//! Evaluates one flag of Eppo's form many times, as the example `evaluation_speed` does with one of GrowthBook's.
//!
//! In: a file `{flags, attributes, feature, unit}`, a number of rounds.  Out: the value, as JSON.
//! Never here: clocks (`bench/experiments.py` reads the kernel's account of two runs of different length).
//! Start at `main`.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;

use eppo_core::eval::get_assignment;
use eppo_core::ufc::UniversalFlagConfig;
use eppo_core::{AttributeValue, Configuration, SdkMetadata, Str};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (file, rounds) = (arguments.next().unwrap_or_default(), arguments.next().unwrap_or_default());
    let input: Value = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let metadata = SdkMetadata { name: "bench", version: "0" };
    let flags = UniversalFlagConfig::from_json(metadata, serde_json::to_vec(&input["flags"])?)?;
    let configuration = Configuration::from_server_response(flags, None);
    let attributes: HashMap<Str, AttributeValue> = serde_json::from_value(input["attributes"].clone())?;
    let attributes = Arc::new(attributes);
    let feature = input["feature"].as_str().unwrap_or_default();
    let unit: Str = input["unit"].as_str().unwrap_or_default().to_owned().into();
    let now = chrono::Utc::now();
    for _ in 0..rounds.parse::<u64>()? {
        let found = get_assignment(
            Some(&configuration),
            black_box(feature),
            black_box(&unit),
            black_box(&attributes),
            None,
            now,
        );
        black_box(found.is_ok());
    }
    let found = get_assignment(Some(&configuration), feature, &unit, &attributes, None, now)?;
    println!(
        "{}",
        found.map_or_else(|| "null".to_owned(), |found| serde_json::to_string(&found.value).unwrap_or_default())
    );
    Ok(())
}
