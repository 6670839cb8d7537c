//! Payloads and units that are out of all proportion: each ends, with an error or with a result that is written down here.
//!
//! In: payloads made up here.  Out: nothing; an overflow of the stack would end the process.
//! Never here: patterns (see `assign::pattern`).
//! Start at any test.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use experiment::assign::{AssignError, Compiled, Context, Log, Object, Payload, Source, Value};

fn compile(payload: &str) -> Compiled {
    Payload::compile(payload).unwrap()
}

fn evaluate(payload: &Compiled, feature: &str, attributes: &str) -> (Value, Source) {
    let attributes = Object::parse(attributes).unwrap();
    let mut log = Log::new();
    let result = payload.evaluate(feature, &Context::new(&attributes), &mut log);
    (result.value.clone(), result.source)
}

/// Features, each of which asks `times` times for the next; the last one is there.
fn chain(length: usize, times: usize) -> Compiled {
    let feature = |i: usize| {
        let parent = format!(r#"{{"id":"f{}","condition":{{"value":9}}}}"#, i + 1);
        let rule = format!(r#"{{"force":1,"parentConditions":[{parent}]}}"#);
        format!(r#""f{i}":{{"defaultValue":0,"rules":[{}]}}"#, vec![rule; times].join(","))
    };
    let features: Vec<String> = (0..length).map(feature).collect();
    compile(&format!(r#"{{"features":{{{},"f{length}":{{"defaultValue":9}}}}}}"#, features.join(",")))
}

#[test]
fn a_condition_of_10000_levels_is_an_error() {
    let deep = format!("{}{{\"a\":1}}{}", r#"{"$not":"#.repeat(10_000), "}".repeat(10_000));
    let payload = format!(r#"{{"features":{{"f":{{"rules":[{{"force":1,"condition":{deep}}}]}}}}}}"#);
    assert!(matches!(Payload::compile(&payload), Err(AssignError::Json(_))));
}

#[test]
fn prerequisites_end_at_a_depth_of_100() {
    assert_eq!(evaluate(&chain(1, 1), "f0", "{}"), (Value::from(1.0), Source::Force));
    // Ninety-nine in between: asked for 9, each but the last gives 0.
    assert_eq!(evaluate(&chain(99, 1), "f0", "{}"), (Value::from(0.0), Source::DefaultValue));
    assert_eq!(evaluate(&chain(10_000, 1), "f0", "{}"), (Value::Null, Source::CyclicPrerequisite));
}

#[test]
fn prerequisites_that_double_at_each_level_end() {
    assert_eq!(evaluate(&chain(10, 2), "f0", "{}").1, Source::DefaultValue);
    assert_eq!(evaluate(&chain(64, 2), "f0", "{}"), (Value::Null, Source::CyclicPrerequisite));
}

#[test]
fn a_cycle_is_named() {
    let payload = compile(
        r#"{"features":{"a":{"rules":[{"force":1,"parentConditions":[{"id":"b","condition":{}}]}]},
            "b":{"rules":[{"force":1,"parentConditions":[{"id":"a","condition":{}}]}]},
            "self":{"defaultValue":3,"rules":[{"force":1,"parentConditions":[{"id":"self","condition":{}}]}]}}}"#,
    );
    for feature in ["a", "b", "self"] {
        assert_eq!(evaluate(&payload, feature, "{}"), (Value::Null, Source::CyclicPrerequisite));
    }
}

/// Saved groups, each of which refers `times` times to the next; the last one holds everybody.
fn groups(length: usize, times: usize) -> Compiled {
    let group = |i: usize| {
        let reference = format!(r#"{{"$savedGroup":{{"id":"g{}"}}}}"#, i + 1);
        format!(
            r#""g{i}":{{"type":"condition","condition":{{"$nor":[{{"$nor":[{}]}}]}}}}"#,
            vec![reference; times].join(",")
        )
    };
    let all: Vec<String> = (0..length).map(group).collect();
    compile(&format!(
        r#"{{"savedGroups":{{{},"g{length}":{{"type":"condition","condition":{{"nobody":true}}}}}},
            "features":{{"f":{{"defaultValue":0,"rules":[{{"force":1,"condition":{{"$savedGroup":{{"id":"g0"}}}}}}]}}}}}}"#,
        all.join(",")
    ))
}

#[test]
fn saved_groups_end_wherever_they_lead() {
    for (length, times) in [(10, 2), (10_000, 1), (64, 2)] {
        assert_eq!(evaluate(&groups(length, times), "f", "{}").1, Source::DefaultValue);
    }
    let cyclic = compile(
        r#"{"savedGroups":{"a":{"type":"condition","condition":{"$savedGroup":{"id":"b"}}},"b":{"type":"condition","condition":{"$savedGroup":{"id":"a"}}}},
            "features":{"f":{"defaultValue":0,"rules":[{"force":1,"condition":{"$savedGroup":{"id":"a"}}}]}}}"#,
    );
    assert_eq!(evaluate(&cyclic, "f", "{}").1, Source::DefaultValue);
}

#[test]
fn long_values_are_values() {
    let payload = compile(
        r#"{"features":{"f":{"rules":[{"condition":{"x":{"$regexi":"^[^@]+é$","$not":{"$in":["a"]}}},"force":1},{"variations":[0,1],"hashVersion":2}]}}}"#,
    );
    let long = "用".repeat(10_000);
    assert_eq!(evaluate(&payload, "f", &format!(r#"{{"x":"{long}É"}}"#)).1, Source::Force);
    assert_eq!(evaluate(&payload, "f", &format!(r#"{{"id":"{long}"}}"#)).1, Source::Experiment);
}

#[test]
fn numbers_at_the_edge_are_numbers() {
    let payload = compile(
        r#"{"features":{"big":{"defaultValue":0,"rules":[{"force":1,"condition":{"x":{"$gt":1e308}}}]},
            "zero":{"defaultValue":0,"rules":[{"force":1,"condition":{"x":{"$eq":0}}}]},
            "text":{"defaultValue":0,"rules":[{"force":1,"condition":{"x":{"$lt":5}}},{"force":2,"condition":{"x":{"$gte":5}}}]}}}"#,
    );
    assert_eq!(evaluate(&payload, "big", r#"{"x":1.7976931348623157e308}"#).1, Source::Force);
    assert_eq!(evaluate(&payload, "zero", r#"{"x":-0.0}"#).1, Source::Force);
    // Text that is no number is neither below nor above one.
    assert_eq!(evaluate(&payload, "text", r#"{"x":"NaN"}"#).1, Source::DefaultValue);
    assert_eq!(evaluate(&payload, "text", r#"{"x":"Infinity"}"#).0, Value::from(2.0));
    assert!(Object::parse(r#"{"x":1e999}"#).is_err());
    assert!(Object::parse(r#"{"x":NaN}"#).is_err());
    assert!(Object::parse(r#"["x"]"#).is_err());
}

#[test]
fn ten_thousand_features_are_each_found() {
    let features: Vec<String> = (0..10_000)
        .map(|i| format!(r#""f{i}":{{"defaultValue":{i},"rules":[{{"force":-1,"condition":{{"id":"{i}"}}}}]}}"#))
        .collect();
    let payload = compile(&format!(r#"{{"features":{{{}}}}}"#, features.join(",")));
    assert_eq!(payload.features().count(), 10_000);
    for i in [0, 1, 4_999, 9_999] {
        assert_eq!(evaluate(&payload, &format!("f{i}"), r#"{"id":"x"}"#).0, Value::from(f64::from(i)));
        assert_eq!(evaluate(&payload, &format!("f{i}"), &format!(r#"{{"id":{i}}}"#)).0, Value::from(-1.0));
    }
    assert_eq!(evaluate(&payload, "f10000", "{}"), (Value::Null, Source::UnknownFeature));
}

#[test]
fn a_wrong_form_is_an_error_that_names_its_place() {
    for (rule, place) in [
        (r#"{"force":1,"condition":[]}"#, "`features.f.rules.0.condition` is no condition"),
        (
            r#"{"force":1,"condition":{"a":{"$elemMatch":null}}}"#,
            "`features.f.rules.0.condition.a.$elemMatch` is no condition",
        ),
        (r#"{"force":1,"condition":{"$or":{}}}"#, "`features.f.rules.0.condition.$or` is no list"),
        (r#"{"force":1,"coverage":null}"#, "`features.f.rules.0.coverage` is null"),
        (r#"{"variations":[1,2],"weights":["a"]}"#, "`features.f.rules.0.weights` is no list of numbers"),
        (r#"{"variations":[1,2],"meta":[{}]}"#, "`features.f.rules.0.meta` has not as many entries"),
        (r#"{"variations":[1,2],"ranges":[[0]]}"#, "`features.f.rules.0.ranges` is no list of ranges"),
        (r#"{"force":1,"parentConditions":[{}]}"#, "`features.f.rules.0.parentConditions.0` needs the `id`"),
        ("5", "`features.f.rules.0` is no object"),
    ] {
        let error =
            Payload::compile(&format!(r#"{{"features":{{"f":{{"rules":[{rule}]}}}}}}"#)).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}");
    }
}

#[test]
fn what_never_matches_is_refused_when_it_is_saved() {
    for (condition, reason) in [
        (r#"{"a":{"$regex":"a(?=b)"}}"#, "look-ahead is not supported"),
        (r#"{"a":{"$regexi":"(a)\\1"}}"#, "back-reference is not supported"),
        (r#"{"a":{"$regex":"("}}"#, "never closes"),
        (r#"{"a":{"$in":"b"}}"#, "is no list"),
        (r#"{"a":{"$like":"b"}}"#, "is no operator"),
        (r#"{"a":{"$inGroup":"g"}}"#, "which the payload does not hold"),
    ] {
        let payload =
            format!(r#"{{"features":{{"f":{{"defaultValue":0,"rules":[{{"force":1,"condition":{condition}}}]}}}}}}"#);
        let error = Payload::validate(&payload).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        // In a payload from elsewhere it matches nobody.
        assert_eq!(evaluate(&compile(&payload), "f", r#"{"a":"ab"}"#).1, Source::DefaultValue);
    }
}
