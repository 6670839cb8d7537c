//! Each rule of the verdict and its boundary, as a table: facts changed from one experiment in good health, and what follows.
//!
//! In: changes to facts.  Out: code, reasons and days left, as JSON.
//! Never here: statistics.
//! Start at [`check`].

#![expect(clippy::unwrap_used, reason = "tests may stop at the first surprise: the panic is the report")]

use experiment::decision::{ArmFacts, Clock, Facts, Health, MetricFact, Role, decide};
use experiment::stats::Interval;
use experiment::stats::non_inferiority::Preference;
use serde_json::json;

fn metric(key: &str, role: Role, lower: f64, upper: f64) -> MetricFact {
    MetricFact {
        key: key.to_owned(),
        role,
        preference: Preference::Increase,
        estimate: 0.5 * (lower + upper),
        interval: Interval { lower, upper },
        is_post_hoc: false,
    }
}

fn arm(name: &str) -> ArmFacts {
    ArmFacts {
        arm: name.to_owned(),
        conversions: 100,
        control_conversions: 100,
        metrics: vec![
            metric("orders", Role::Primary, -0.05, 0.10),
            metric("visits", Role::Success, -0.02, 0.03),
            metric("margin", Role::Guardrail { margin: 0.01 }, -0.005, 0.02),
        ],
        mde: Some(0.04),
        power: Some(0.6),
        target_power: 0.8,
        days_to_power: Some(9.5),
    }
}

/// Day 10 of 14, nothing wrong, nothing found.
fn facts() -> Facts {
    Facts {
        health: Health {
            sample_ratio_p: 0.001,
            sequential_sample_ratio_p: 0.001,
            leaked_units: 0,
            multiple_exposure_share: 0.01,
            pre_exposure: vec![("orders before".to_owned(), 0.001)],
            join_rate: 0.95,
            least_join_rate: 0.95,
            data_age_hours: 30.0,
            most_data_age_hours: 30.0,
            exposures: 5_000,
            missing_metrics: Vec::new(),
        },
        clock: Clock {
            days_running: 10.0,
            least_days: 7.0,
            most_days: 56.0,
            planned_days: Some(14.0),
            has_planned_units: false,
        },
        arms: vec![arm("b")],
    }
}

/// What follows from the facts after a change.
fn verdict_after(change: impl Fn(&mut Facts)) -> serde_json::Value {
    let mut facts = facts();
    change(&mut facts);
    serde_json::to_value(decide(&facts).unwrap().verdict).unwrap()
}

#[track_caller]
fn check(change: impl Fn(&mut Facts), code: &str, reasons: serde_json::Value, days_left: Option<f64>) {
    assert_eq!(verdict_after(change), json!({ "code": code, "reasons": reasons, "days_left": days_left }));
}

fn set(facts: &mut Facts, key: &str, lower: f64, upper: f64) {
    let metric = facts.arms[0].metrics.iter_mut().find(|metric| metric.key == key).unwrap();
    *metric = self::metric(key, metric.role, lower, upper);
}

fn succeed(facts: &mut Facts) {
    set(facts, "orders", 0.001, 0.1);
}

#[test]
fn at_the_limits_of_health_nothing_is_wrong() {
    check(|_| {}, "keep_running", json!([]), Some(4.0));
}

#[test]
fn each_ailment_comes_before_any_effect() {
    type Change = fn(&mut Facts);
    let ailments: [(Change, serde_json::Value); 9] = [
        (|f| f.health.sample_ratio_p = 0.0009, json!({ "code": "sample_ratio", "p": 0.0009 })),
        (|f| f.health.sequential_sample_ratio_p = 0.0, json!({ "code": "sequential_sample_ratio", "p": 0.0 })),
        (|f| f.health.leaked_units = 1, json!({ "code": "leak", "units": 1 })),
        (|f| f.health.multiple_exposure_share = 0.011, json!({ "code": "multiple_exposure", "share": 0.011 })),
        (
            |f| f.health.pre_exposure[0].1 = 0.0005,
            json!({ "code": "pre_exposure_bias", "covariate": "orders before", "p": 0.0005 }),
        ),
        (|f| f.health.join_rate = 0.94, json!({ "code": "join_rate", "share": 0.94, "least": 0.95 })),
        (|f| f.health.data_age_hours = 31.0, json!({ "code": "stale", "hours": 31.0, "most": 30.0 })),
        (|f| f.health.exposures = 0, json!({ "code": "no_exposure", "hours": 240.0 })),
        (
            |f| f.health.missing_metrics.push("margin".to_owned()),
            json!({ "code": "missing_metric", "metric": "margin" }),
        ),
    ];
    for (change, reason) in ailments {
        for effect in [succeed, |f: &mut Facts| set(f, "orders", -0.2, -0.1)] {
            let found = verdict_after(|f| {
                effect(f);
                change(f);
            });
            assert_eq!(found, json!({ "code": "fix_first", "reasons": [reason], "days_left": null }));
        }
    }
}

#[test]
fn silence_is_wrong_only_after_a_day() {
    let silent = |days: f64| {
        move |f: &mut Facts| {
            f.health.exposures = 0;
            f.health.join_rate = 0.0;
            f.clock.days_running = days;
        }
    };
    check(silent(0.99), "keep_running", json!([{ "code": "too_early" }]), Some(10.49 - 0.99));
    check(silent(1.0), "fix_first", json!([{ "code": "no_exposure", "hours": 24.0 }]), None);
}

#[test]
fn harm_beyond_the_margin_rolls_back_at_once() {
    let harm = |f: &mut Facts| {
        succeed(f);
        set(f, "margin", -0.05, -0.0101);
        f.clock.days_running = 0.5;
    };
    check(harm, "roll_back", json!([{ "code": "guardrail", "metric": "margin" }]), None);
    // At the margin it is not beyond it.
    let touch = |f: &mut Facts| set(f, "margin", -0.05, -0.01);
    check(touch, "keep_running", json!([]), Some(4.0));
}

#[test]
fn a_worse_goal_rolls_back_and_another_success_metric_does_not() {
    check(|f| set(f, "orders", -0.1, -0.001), "roll_back", json!([{ "code": "goal", "metric": "orders" }]), None);
    check(|f| set(f, "orders", -0.1, 0.0), "keep_running", json!([]), Some(4.0));
    check(|f| set(f, "visits", -0.1, -0.001), "keep_running", json!([]), Some(4.0));
    let both = |f: &mut Facts| {
        set(f, "orders", -0.1, -0.05);
        set(f, "margin", -0.1, -0.05);
    };
    let reasons = json!([{ "code": "guardrail", "metric": "margin" }, { "code": "goal", "metric": "orders" }]);
    check(both, "roll_back", reasons, None);
}

#[test]
fn success_ships_with_sound_guardrails_after_the_least_runtime() {
    check(succeed, "ship", json!([]), None);
    check(|f| set(f, "visits", 0.001, 0.03), "ship", json!([]), None);
    // Zero is no success, and a bound at the margin is not inside it.
    check(|f| set(f, "orders", 0.0, 0.1), "keep_running", json!([]), Some(4.0));
    let open = |f: &mut Facts| {
        succeed(f);
        set(f, "margin", -0.01, 0.02);
    };
    check(open, "keep_running", json!([]), Some(4.0));
    let soon = |days: f64| {
        move |f: &mut Facts| {
            succeed(f);
            f.clock.days_running = days;
        }
    };
    check(soon(6.5), "keep_running", json!([]), Some(0.5));
    check(soon(7.0), "ship", json!([]), None);
}

#[test]
fn where_less_is_better_everything_is_mirrored() {
    let mirror = |f: &mut Facts, key: &str, lower: f64, upper: f64| {
        set(f, key, lower, upper);
        f.arms[0].metrics.iter_mut().find(|m| m.key == key).unwrap().preference = Preference::Decrease;
    };
    check(|f| mirror(f, "orders", -0.1, -0.001), "ship", json!([]), None);
    check(|f| mirror(f, "orders", 0.001, 0.1), "roll_back", json!([{ "code": "goal", "metric": "orders" }]), None);
    let harm = json!([{ "code": "guardrail", "metric": "margin" }]);
    check(|f| mirror(f, "margin", 0.011, 0.1), "roll_back", harm, None);
    let open = |f: &mut Facts| {
        succeed(f);
        mirror(f, "margin", -0.1, 0.011);
    };
    check(open, "keep_running", json!([]), Some(4.0));
}

#[test]
fn the_end_without_success_says_why() {
    let end = |f: &mut Facts| f.clock.days_running = 14.0;
    let underpowered = json!([{ "code": "underpowered", "power": 0.6, "target": 0.8 }]);
    check(end, "no_difference", underpowered.clone(), Some(9.5));
    let powered = |f: &mut Facts| {
        end(f);
        f.arms[0].power = Some(0.8);
    };
    check(powered, "no_difference", json!([{ "code": "flat" }]), None);
    let guarded = |f: &mut Facts| {
        end(f);
        succeed(f);
        set(f, "margin", -0.02, 0.02);
    };
    let reason = json!([{ "code": "guardrail_inconclusive", "metric": "margin" }]);
    check(guarded, "no_difference", reason, Some(9.5));
    let small = |f: &mut Facts| {
        end(f);
        set(f, "orders", -0.01, 0.02);
    };
    check(small, "no_difference", json!([{ "code": "inside_mde", "mde": 0.04 }]), None);
    // The planned number of units is an end too, and so is the longest runtime.
    let counted = |f: &mut Facts| f.clock.has_planned_units = true;
    check(counted, "no_difference", underpowered.clone(), Some(9.5));
    let endless = |days: f64| {
        move |f: &mut Facts| {
            f.clock.planned_days = None;
            f.clock.days_running = days;
        }
    };
    check(endless(55.0), "keep_running", json!([]), Some(1.0));
    check(endless(56.0), "no_difference", underpowered, Some(9.5));
}

#[test]
fn an_end_before_the_least_runtime_waits_for_it() {
    let counted = |f: &mut Facts| {
        succeed(f);
        f.clock.has_planned_units = true;
        f.clock.days_running = 3.0;
    };
    check(counted, "keep_running", json!([]), Some(4.0));
}

#[test]
fn an_effect_too_small_to_matter_ends_it_early() {
    check(|f| set(f, "orders", -0.039, 0.039), "no_difference", json!([{ "code": "inside_mde", "mde": 0.04 }]), None);
    check(|f| set(f, "orders", -0.04, 0.039), "keep_running", json!([]), Some(4.0));
    let without = |f: &mut Facts| {
        set(f, "orders", -0.001, 0.001);
        f.arms[0].mde = None;
    };
    check(without, "keep_running", json!([]), Some(4.0));
    // A small success that waits for a guardrail is a difference.
    let waits = |f: &mut Facts| {
        set(f, "orders", 0.01, 0.02);
        set(f, "margin", -0.02, 0.02);
    };
    check(waits, "keep_running", json!([]), Some(4.0));
}

#[test]
fn too_early_is_the_first_day_or_a_hundred_conversions() {
    let early = json!([{ "code": "too_early" }]);
    check(|f| f.clock.days_running = 0.5, "keep_running", early.clone(), Some(9.5));
    check(|f| f.clock.days_running = 1.0, "keep_running", json!([]), Some(9.5));
    check(|f| f.arms[0].conversions = 99, "keep_running", early.clone(), Some(4.0));
    check(|f| f.arms[0].control_conversions = 99, "keep_running", early, Some(4.0));
}

#[test]
fn days_left_stay_between_the_least_runtime_and_the_end() {
    let left = |days: f64, wanted: Option<f64>| {
        move |f: &mut Facts| {
            f.clock.days_running = days;
            f.arms[0].days_to_power = wanted;
        }
    };
    check(left(10.0, Some(2.5)), "keep_running", json!([]), Some(2.5));
    check(left(2.0, Some(1.0)), "keep_running", json!([]), Some(5.0));
    check(left(2.0, None), "keep_running", json!([]), Some(12.0));
    check(left(2.0, Some(1e9)), "keep_running", json!([]), Some(12.0));
}

#[test]
fn metrics_added_later_or_only_watched_decide_nothing() {
    let later = |lower: f64, upper: f64, role: Role, is_post_hoc: bool| {
        move |f: &mut Facts| {
            let added = MetricFact { is_post_hoc, ..metric("late", role, lower, upper) };
            f.arms[0].metrics.push(added);
        }
    };
    check(later(0.1, 0.2, Role::Success, true), "keep_running", json!([]), Some(4.0));
    check(later(-0.2, -0.1, Role::Guardrail { margin: 0.0 }, true), "keep_running", json!([]), Some(4.0));
    check(later(-0.2, -0.1, Role::Watched, false), "keep_running", json!([]), Some(4.0));
    check(later(0.1, 0.2, Role::Success, false), "ship", json!([]), None);
}

/// Verdicts of arms whose primary metric has the intervals given.
fn decide_arms(intervals: &[(f64, f64)]) -> (String, Vec<String>, Option<String>) {
    let mut facts = facts();
    facts.arms = intervals
        .iter()
        .zip(["b", "c", "d"])
        .map(|((lower, upper), name)| {
            let mut arm = arm(name);
            arm.metrics[0] = metric("orders", Role::Primary, *lower, *upper);
            arm
        })
        .collect();
    let decision = decide(&facts).unwrap();
    let code = |verdict| serde_json::to_value(verdict).unwrap().as_str().unwrap().to_owned();
    let arms = decision.arms.iter().map(|arm| code(arm.verdict.code)).collect();
    (code(decision.verdict.code), arms, decision.proposal)
}

#[test]
fn of_several_arms_the_best_shippable_is_proposed() {
    let (code, arms, proposal) = decide_arms(&[(0.01, 0.1), (0.05, 0.3), (-0.3, -0.1)]);
    assert_eq!((code.as_str(), arms), ("ship", ["ship", "ship", "roll_back"].map(str::to_owned).to_vec()));
    assert_eq!(proposal.as_deref(), Some("c"));
    let (code, _, proposal) = decide_arms(&[(-0.3, -0.1), (-0.1, 0.1), (-0.01, 0.01)]);
    assert_eq!((code.as_str(), proposal), ("keep_running", None));
    let (code, _, _) = decide_arms(&[(-0.3, -0.1), (-0.01, 0.01)]);
    assert_eq!(code, "no_difference");
    let (code, _, _) = decide_arms(&[(-0.3, -0.1), (-0.2, -0.1)]);
    assert_eq!(code, "roll_back");
}

#[test]
fn facts_that_are_none_are_errors() {
    type Change = fn(&mut Facts);
    let wrong: [Change; 10] = [
        |f| f.arms.clear(),
        |f| f.arms[0].metrics.clear(),
        |f| f.arms[0].metrics[1].role = Role::Primary,
        |f| f.arms[0].metrics[0].is_post_hoc = true,
        |f| f.arms[0].metrics[0].interval.lower = f64::NAN,
        |f| f.arms[0].metrics[0].interval = Interval { lower: 1.0, upper: -1.0 },
        |f| f.arms[0].metrics[2].role = Role::Guardrail { margin: -0.01 },
        |f| f.health.sample_ratio_p = f64::NAN,
        |f| f.clock.days_running = -1.0,
        |f| f.clock.most_days = 6.0,
    ];
    for (index, change) in wrong.into_iter().enumerate() {
        let mut facts = facts();
        change(&mut facts);
        assert!(decide(&facts).is_err(), "change {index}");
    }
}
