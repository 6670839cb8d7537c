//! Traces of rules beside the evaluations that they explain.
//!
//! In: GrowthBook's conformance cases; experiments in a layer, with holdouts, audiences and ramps.  Out: nothing.
//! Never here: what an evaluation should be (see `growthbook`).
//! Start at `a_trace_ends_where_the_evaluation_does`.

use experiment::assign::{Compiled, Context, Log, Object, Payload, RuleKind, RuleOutcome, Source};
use serde_json::{Value, json};

/// Compares, and counts what each rule came to.
fn check(compiled: &Compiled, feature: &str, context: &Context<'_>, seen: &mut Vec<RuleOutcome>) {
    let result = compiled.evaluate(feature, context, &mut Log::new());
    let trace = compiled.trace(feature, context);
    seen.extend(trace.iter().map(|rule| rule.outcome));
    let applied = trace.iter().position(|rule| rule.outcome == RuleOutcome::Applied);
    match result.source {
        Source::Force | Source::Experiment => {
            assert_eq!(applied, result.position, "{feature}: {result:?}");
            assert_eq!(applied, Some(trace.len() - 1), "nothing is asked after the rule that applies");
            assert_eq!(trace[trace.len() - 1].rule, result.rule);
            assert!(compiled.rule_kind(feature, trace.len() - 1).is_some());
        }
        Source::Prerequisite | Source::CyclicPrerequisite => {
            assert_eq!(trace.last().map(|rule| rule.outcome), Some(RuleOutcome::Prerequisite), "{feature}: {result:?}");
        }
        Source::DefaultValue | Source::UnknownFeature | Source::Override => {
            assert_eq!(applied, None, "{feature}: {result:?}");
            assert_eq!(trace.len(), compiled.rules(feature));
        }
    }
}

#[test]
fn a_trace_ends_where_the_evaluation_does() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/growthbook_cases.json"));
    let cases: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let (mut count, mut seen) = (0, Vec::new());
    for case in cases["feature"].as_array().unwrap() {
        let context = &case[1];
        let payload = json!({ "features": context["features"], "savedGroups": context["savedGroups"] });
        let Ok(compiled) = Payload::compile(&payload.to_string()) else { continue };
        let attributes = context["attributes"].as_object().map_or("{}".to_owned(), |map| json!(map).to_string());
        let attributes = Object::parse(&attributes).unwrap();
        check(&compiled, case[2].as_str().unwrap(), &Context::new(&attributes), &mut seen);
        count += 1;
    }
    assert!(count > 30, "{count} cases");
}

#[test]
fn every_reason_is_found() {
    let rules = json!([
        { "id": "paying", "condition": { "plan": "pro" }, "force": "paid" },
        { "id": "slot", "filters": [{ "seed": "layer", "ranges": [[0.0, 0.2]] }], "force": "slot" },
        { "id": "needs", "parentConditions": [{ "id": "parent", "condition": { "value": true } }], "force": "needs" },
        { "id": "off", "key": "off", "variations": ["a"] },
        { "id": "team", "key": "team", "variations": ["c", "d"], "hashAttribute": "company" },
        { "id": "some", "key": "some", "variations": ["e", "f"], "coverage": 0.3, "hashVersion": 2 },
        { "id": "few", "force": "g", "coverage": 0.2, "hashAttribute": "id" },
        { "id": "nobody" },
    ]);
    let payload =
        json!({ "features": { "x": { "defaultValue": "0", "rules": rules }, "parent": { "defaultValue": false } } });
    let compiled = Payload::compile(&payload.to_string()).unwrap();
    let mut seen = Vec::new();
    for unit in 0..2_000 {
        let plan = if unit % 5 == 0 { "pro" } else { "free" };
        let mut attributes = json!({ "id": format!("u{unit}"), "plan": plan });
        if unit % 7 == 0 {
            attributes["company"] = json!("acme");
        }
        let attributes = Object::parse(&attributes.to_string()).unwrap();
        check(&compiled, "x", &Context::new(&attributes), &mut seen);
    }
    for outcome in [
        RuleOutcome::Applied,
        RuleOutcome::Audience,
        RuleOutcome::Layer,
        RuleOutcome::Prerequisite,
        RuleOutcome::Off,
        RuleOutcome::NoUnit,
        RuleOutcome::Coverage,
    ] {
        assert!(seen.contains(&outcome), "{outcome:?}");
    }
    let kinds: Vec<_> = (0..9).map(|position| compiled.rule_kind("x", position)).collect();
    let (targeted, split, everybody) = (Some(RuleKind::Targeted), Some(RuleKind::Split), Some(RuleKind::Everybody));
    assert_eq!(kinds, [targeted, split, targeted, split, split, split, split, everybody, None]);
    assert_eq!(compiled.hashed_attributes("x").into_iter().collect::<Vec<_>>(), ["company", "id"]);
    assert!(compiled.trace("none", &Context::new(&Object::default())).is_empty());
}
