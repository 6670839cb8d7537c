//! All cases of the oracle against our own figures, with the tolerance that each case carries.
//!
//! In: `tests/fixtures/`: figures computed with the packages that each case names.  Out: pass, or a list of differences.
//! Never here: formulas of our own; the adapters call the library.
//! Start at [`compute`].

mod case;
mod methods_a;
mod methods_b;
mod methods_ranking;

use std::collections::BTreeMap;

use case::Case;
use serde_json::Value;

/// The outputs of a case under the oracle's own field names; `None` for an unknown method.
fn compute(case: &Case) -> Option<Value> {
    methods_a::compute(case).or_else(|| methods_b::compute(case))
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
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}
