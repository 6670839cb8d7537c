//! All cases of the oracle against our own figures, with the tolerance that each case carries.
//!
//! In: `tests/fixtures/`: figures computed with the packages that each case names.  Out: pass, or a list of differences.
//! Never here: formulas of our own; the adapters call the library.
//! Start at [`compute`].

mod case;
mod methods_a;
mod pipeline;
mod worked_example;

use std::collections::BTreeMap;

use case::Case;
use serde_json::Value;

/// Methods that no adapter computes yet. Empty when all 343 cases are ours.
const WITHOUT_ADAPTER: [&str; 18] = [
    "bandit_thompson",
    "chi_square_two_proportions",
    "group_sequential_bounds",
    "interleaving_sign_test",
    "mann_whitney",
    "multiple_testing",
    "non_inferiority_z_test",
    "off_policy_value",
    "peeking_probability",
    "power",
    "sequential_srm",
    "sequential_srm_path",
    "sequential_srm_posterior",
    "spending_functions",
    "srm",
    "tost",
    "two_proportions",
    "winsorise_upper",
];

/// The outputs of a case under the oracle's own field names; `None` for an unknown method.
fn compute(case: &Case) -> Option<Value> {
    methods_a::compute(case)
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
    eprintln!("{} cases: {counts:#?}\nunknown: {unknown:?}", counts.values().sum::<usize>());
    assert_eq!(unknown.keys().collect::<Vec<_>>(), WITHOUT_ADAPTER, "methods without an adapter");
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
