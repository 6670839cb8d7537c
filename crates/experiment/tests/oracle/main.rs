//! All cases of the oracle against our own figures, with the tolerance that each case carries.
//!
//! In: `tests/fixtures/`: figures computed with the packages that each case names.  Out: pass, or a list of differences.
//! Never here: formulas of our own; the adapters call the library.
//! Start at [`compute`].

mod case;
mod comparisons;
mod pipeline;
mod procedures;
mod ranking;
mod worked_example;

use std::collections::BTreeMap;

use case::Case;
use serde_json::Value;

/// The outputs of a case under the oracle's own field names; `None` for an unknown method.
fn compute(case: &Case) -> Option<Value> {
    comparisons::compute(case).or_else(|| procedures::compute(case))
}

#[test]
fn every_case_of_the_oracle_is_within_its_tolerance() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut unknown: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in case::cases() {
        let Some(actual) = compute(&case) else {
            *unknown.entry(case.method).or_default() += 1;
            continue;
        };
        failures.extend(case::differences(&case, &actual).iter().map(|d| format!("{}{d}", case.name)));
        *counts.entry(case.method).or_default() += 1;
    }
    eprintln!("{} cases: {counts:#?}", counts.values().sum::<usize>());
    assert!(unknown.is_empty(), "methods without an adapter: {unknown:?}");
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_comparison_sees_what_is_off_missing_or_null() {
    let cases = case::cases();
    let case = cases.iter().find(|case| case.name == "gb/mean/t/two_sided/absolute").expect("a known case");
    assert!(case::differences(case, &case.outputs).is_empty());
    let seen = |field: &str, value: Value| {
        let mut outputs = case.outputs.clone();
        outputs[field] = value;
        case::differences(case, &outputs).len()
    };
    // Its tolerance: rel 1e-9, for the p-value 1e-8.
    assert_eq!(seen("se", (case.outputs["se"].as_f64().expect("a number") * (1.0 + 2e-9)).into()), 1);
    assert_eq!(seen("se", (case.outputs["se"].as_f64().expect("a number") * (1.0 + 5e-10)).into()), 0);
    assert_eq!(seen("p_value", (case.outputs["p_value"].as_f64().expect("a number") * (1.0 + 5e-9)).into()), 0);
    assert_eq!(seen("ci", serde_json::json!([0.5114016468989145, "Infinity"])), 1);
    assert_eq!(seen("ci", serde_json::json!([0.5114016468989145])), 1);
    assert_eq!(seen("effect", Value::Null) + seen("effect", "NaN".into()), 2);
}
