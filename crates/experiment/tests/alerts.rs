//! Who is told what when: each rule of alerts on its own.
//!
//! In: a course that runs, made-up evidence.  Out: nothing.
//! Never here: where alerts are kept (`pipeline`).
//! Start at `health_is_told_at_once_and_again_after_a_day`.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use experiment::decision::{Code, Reason, Verdict};
use experiment::lifecycle::alerts::{Alert, Look, What, acts_from, alerts};
use experiment::lifecycle::evidence::{Evidence, Harm, Significant};
use experiment::lifecycle::watch::Obstacle;
use experiment::lifecycle::{ApprovalPolicy, By, Course, Due, Step, Verb};

fn at(hours: i64) -> DateTime<Utc> {
    "2026-11-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours)
}

/// Started at 00:00 on the first.
fn running(plan: &str) -> Course {
    let text = format!(
        "[assignment]\nkey = 'checkout'\nvariants = [{{ key = 'old', value = false }}, {{ key = 'new', value = true }}]\n\
         [analysis]\nexposures = 'marts.exposures'\nstart = '2026-11-01T00:00:00Z'\ngoals = ['revenue']\n{plan}\n"
    );
    let by = By { person: "ann", at: at(0), policy: ApprovalPolicy::Never, is_approver: false, groups: "" };
    let draft = Course::draft(toml::from_str(&text).unwrap(), by).unwrap();
    let review = draft.step(&Step::Submit, by, &BTreeMap::new()).unwrap();
    review.step(&Step::Start, by, &BTreeMap::new()).unwrap()
}

fn found() -> Evidence {
    Evidence {
        verdict: Some(Verdict { code: Code::KeepRunning, reasons: Vec::new(), days_left: None }),
        arm: None,
        units: 1_000,
        fewest_units: 480,
        exposures: 3_000,
        data_until: Some(at(0)),
        ailments: Vec::new(),
        harmed: Vec::new(),
        sample_ratio_p: None,
        unknown: Vec::new(),
        significant: Vec::new(),
    }
}

fn ill(reasons: &[Reason]) -> Evidence {
    let verdict = Some(Verdict { code: Code::FixFirst, reasons: reasons.to_vec(), days_left: None });
    Evidence { verdict, ailments: reasons.to_vec(), ..found() }
}

fn better() -> Evidence {
    let goal = Significant { metric: "revenue".to_owned(), arm: "new".to_owned(), effect: 0.04, is_better: true };
    let verdict = Some(Verdict { code: Code::Ship, reasons: Vec::new(), days_left: None });
    Evidence { verdict, significant: vec![goal], ..found() }
}

fn tell(course: &Course, look: Look<'_>, earlier: &[Alert], hours: i64) -> Vec<What> {
    alerts(course, look, earlier, at(hours)).into_iter().map(|alert| alert.what).collect()
}

fn look(evidence: &Evidence) -> Look<'_> {
    Look { evidence: Some(evidence), ..Look::default() }
}

#[test]
fn health_is_told_at_once_and_again_after_a_day() {
    let course = running("");
    let p = |p| ill(&[Reason::SampleRatio { p }]);
    let first = alerts(&course, look(&p(1e-5)), &[], at(1));
    assert_eq!(first.len(), 1, "an hour after its start");
    let text = r#"{"at":"2026-11-01T01:00:00Z","experiment":"checkout","phase":0,"alert":"health","reason":{"code":"sample_ratio","p":0.00001}}"#;
    assert_eq!(serde_json::to_string(&first[0]).unwrap(), text);
    assert_eq!(serde_json::from_str::<Alert>(text).unwrap(), first[0]);
    assert_eq!(tell(&course, look(&p(1e-9)), &first, 24), [], "the figure moves, the fault is the same");
    assert_eq!(tell(&course, look(&p(1e-9)), &first, 25).len(), 1);
    let leak = ill(&[Reason::SampleRatio { p: 1e-5 }, Reason::Leak { units: 1 }]);
    assert_eq!(tell(&course, look(&leak), &first, 2), [What::Health { reason: Reason::Leak { units: 1 } }]);
    let of = |covariate: &str| ill(&[Reason::PreExposureBias { covariate: covariate.to_owned(), p: 1e-4 }]);
    let first = alerts(&course, look(&of("spend")), &[], at(1));
    assert_eq!(tell(&course, look(&of("spend")), &first, 2), []);
    assert_eq!(tell(&course, look(&of("visits")), &first, 2).len(), 1, "another covariate is another fault");
    // Another phase, or a clock that was put back, tells it anew.
    let mut later = course.clone();
    later.assignment.phase = 1;
    assert_eq!(tell(&later, look(&of("spend")), &first, 2).len(), 1);
    assert_eq!(tell(&course, look(&of("spend")), &first, 0).len(), 1);
}

#[test]
fn missing_data_is_not_told_within_the_first_day() {
    let course = running("");
    let metric = || "revenue".to_owned();
    let missing = ill(&[
        Reason::NoExposure { hours: 300.0 },
        Reason::Stale { hours: 60.0, most: 48.0 },
        Reason::JoinRate { share: 0.1, least: 0.5 },
        Reason::MissingMetric { metric: metric() },
    ]);
    assert_eq!(tell(&course, look(&missing), &[], 23), []);
    assert_eq!(tell(&course, look(&missing), &[], 24).len(), 4);
    // A day of running: pauses do not count.
    let by = |hours| By { person: "ann", at: at(hours), policy: ApprovalPolicy::Never, is_approver: false, groups: "" };
    let paused = course.step(&Step::Pause { reason: String::new() }, by(10), &BTreeMap::new()).unwrap();
    let resumed = paused.step(&Step::Resume, by(30), &BTreeMap::new()).unwrap();
    assert_eq!(tell(&resumed, look(&missing), &[], 43), []);
    assert_eq!(tell(&resumed, look(&missing), &[], 44).len(), 4);
}

#[test]
fn effects_are_told_after_a_week_with_a_hundred_units_in_every_arm() {
    let course = running("");
    let evidence = better();
    assert_eq!(tell(&course, look(&evidence), &[], 7 * 24 - 1), []);
    let told = tell(&course, look(&evidence), &[], 7 * 24);
    let [What::Digest { days_running, verdict, significant, waits_for }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*days_running, *verdict, significant.len(), waits_for.len()), (7.0, Some(Code::Ship), 1, 0));
    let few = Evidence { fewest_units: 99, ..better() };
    assert_eq!(tell(&course, look(&few), &[], 7 * 24), []);
    assert_eq!(tell(&course, look(&Evidence { fewest_units: 100, ..better() }), &[], 7 * 24).len(), 1);
    // The least runtime, where that is longer.
    let longer = running("min_days = 14");
    assert_eq!(tell(&longer, look(&evidence), &[], 14 * 24 - 1), []);
    assert_eq!(tell(&longer, look(&evidence), &[], 14 * 24).len(), 1);
    let shorter = running("min_days = 2");
    assert_eq!(tell(&shorter, look(&evidence), &[], 7 * 24 - 1), []);
}

#[test]
fn there_is_one_digest_a_day_and_none_without_news() {
    let course = running("");
    let evidence = better();
    let first = alerts(&course, look(&evidence), &[], at(10 * 24 + 5));
    assert_eq!(first.len(), 1);
    for hours in 10 * 24..11 * 24 {
        assert_eq!(tell(&course, look(&evidence), &first, hours), [], "{hours}");
    }
    assert_eq!(tell(&course, look(&evidence), &first, 11 * 24).len(), 1, "the next day");
    assert_eq!(tell(&course, look(&found()), &[], 300), []);
    assert_eq!(tell(&course, Look::default(), &[], 300), []);
    // What a step waits for is news, also in the first week; that results were not due is none.
    let hold = |because| Due::Hold { verb: "ramp", because };
    let waits = hold(vec![Obstacle::NoExposure, Obstacle::NoExposure, Obstacle::NoResults]);
    let told = tell(&course, Look { due: Some(&waits), ..Look::default() }, &[], 30);
    let [What::Digest { waits_for, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(waits_for, &["no_exposure"]);
    let none = hold(vec![Obstacle::NoResults]);
    assert_eq!(tell(&course, Look { due: Some(&none), ..Look::default() }, &[], 30), []);
}

#[test]
fn what_was_done_is_told_once_and_for_ever() {
    let course = running("");
    let done = [(Verb::Ramp, "step of the ramp to 0.5".to_owned(), 7)];
    let told = alerts(&course, Look { done: &done, ..Look::default() }, &[], at(1));
    let what = What::Done { verb: Verb::Ramp, reason: "step of the ramp to 0.5".to_owned(), revision: 7 };
    assert_eq!(told[0].what, what);
    assert_eq!(tell(&course, Look { done: &done, ..Look::default() }, &told, 900), []);
    let more = [(Verb::Ramp, "step of the ramp to 1".to_owned(), 9)];
    assert_eq!(tell(&course, Look { done: &more, ..Look::default() }, &told, 2).len(), 1);
}

#[test]
fn acts_of_a_phase_that_is_over_are_not_told_as_those_of_the_next() {
    let course = running("end = '2026-11-20T00:00:00Z'");
    let done = [(Verb::Stop, "planned end".to_owned(), 7)];
    let told = alerts(&course, Look { done: &done, ..Look::default() }, &[], at(1));
    let by = |hours| By { person: "ann", at: at(hours), policy: ApprovalPolicy::Never, is_approver: false, groups: "" };
    let step = |course: &Course, step: Step, hours| course.step(&step, by(hours), &BTreeMap::new()).unwrap();
    assert_eq!(acts_from(&course, at(2)), Some(at(0)));
    assert_eq!(acts_from(&course, at(8 * 24)), Some(at(24)), "a week");
    let reopened = step(&course, Step::Reopen { reason: "again".to_owned(), make_default: false }, 5);
    assert_eq!(acts_from(&reopened, at(6)), None);
    let again = step(&step(&reopened, Step::Submit, 6), Step::Start, 7);
    assert_eq!((again.assignment.phase, acts_from(&again, at(8))), (1, Some(at(7))));
    assert_eq!(tell(&again, Look { done: &done, ..Look::default() }, &told, 8), [], "its number was told");
}

#[test]
fn harm_and_failures_are_told_at_once() {
    let course = running("");
    let (metric, arm) = ("returns".to_owned(), "new".to_owned());
    let evidence = Evidence { harmed: vec![Harm { metric: metric.clone(), arm: arm.clone() }], ..found() };
    let told = alerts(&course, look(&evidence), &[], at(1));
    assert_eq!(told[0].what, What::Harm { metric, arm });
    assert_eq!(tell(&course, look(&evidence), &told, 2), []);
    let by = By { person: "montauk", at: at(1), policy: ApprovalPolicy::Never, is_approver: false, groups: "" };
    let stop = Step::Stop { reason: String::new(), proposal: None };
    let stopped = course.step(&stop, by, &BTreeMap::new()).unwrap();
    assert_eq!(tell(&stopped, look(&evidence), &[], 1), [], "that it was stopped is told as done");
    let failed = Look { failure: Some(("unanalyzable", "no table")), ..Look::default() };
    let told = alerts(&course, failed, &[], at(1));
    assert_eq!(told.len(), 1);
    let other = Look { failure: Some(("unanalyzable", "another sentence")), ..Look::default() };
    assert_eq!(tell(&course, other, &told, 2), []);
    assert_eq!(tell(&course, other, &told, 25).len(), 1);
}
