//! What an edit means for whoever approved, watches and decides: hashes, authors, clocks and phases.
//!
//! In: courses that are walked by hand.  Out: nothing.
//! Never here: every state × verb × field (see `lifecycle`), what is due (see `watch`).
//! Start at `dimensions_that_only_show_are_no_part_of_the_plan`.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use experiment::lifecycle::{ApprovalPolicy, By, Course, Due, LaunchFacts, Step, checklist, clock, watch};
use experiment::plan::{Dimension, ExperimentFile};
use experiment::schedule::RampStep;

fn at(days: i64) -> DateTime<Utc> {
    "2026-11-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(days)
}

fn by(person: &str, days: i64) -> By<'_> {
    By { person, at: at(days), policy: ApprovalPolicy::Always, is_approver: false, groups: "" }
}

fn file(plan: &str, schedule: &str) -> ExperimentFile {
    toml::from_str(&format!(
        "[assignment]\nkey = 'checkout'\ncoverage = 0.05\n\
         variants = [{{ key = 'old', value = false }}, {{ key = 'new', value = true }}]\n\
         [analysis]\nexposures = 'marts.exposures'\nstart = '2026-11-01T00:00:00Z'\ngoals = ['revenue']\n{plan}\n[schedule]\n{schedule}\n"
    ))
    .unwrap()
}

fn draft(plan: &str, schedule: &str) -> Course {
    Course::draft(file(plan, schedule), by("ann", 0)).unwrap()
}

fn step(course: &Course, step: &Step, person: &str, days: i64) -> Course {
    course.step(step, by(person, days), &BTreeMap::new()).unwrap()
}

fn edit(course: &Course, person: &str, days: i64, change: impl FnOnce(&mut ExperimentFile)) -> Course {
    let mut file = course.file();
    change(&mut file);
    course.edit(file, by(person, days)).unwrap().course
}

fn approved(course: &Course) -> Course {
    step(&step(course, &Step::Submit, "ann", 0), &Step::Approve { up_to: Some(1.0) }, "bob", 0)
}

fn running(plan: &str, schedule: &str) -> Course {
    step(&approved(&draft(plan, schedule)), &Step::Start, "ann", 0)
}

#[test]
fn dimensions_that_only_show_are_no_part_of_the_plan() {
    let hash = |course: &Course| course.plan_hash(&BTreeMap::new()).unwrap();
    let course = running("end = '2026-11-20T00:00:00Z'\ndimensions = ['country', 'tier']\npost_stratify = 'tier'", "");
    let more = edit(&course, "cat", 3, |file| file.analysis.dimensions.push(Dimension::from("device".to_owned())));
    let fewer = edit(&course, "cat", 3, |file| drop(file.analysis.dimensions.remove(0)));
    for edited in [&more, &fewer] {
        assert_eq!(Some(hash(edited)), course.plan_hash);
        assert_eq!(edited.approval_hash().unwrap(), course.approval.as_ref().unwrap().hash);
        // The approval still holds for more traffic.
        assert!(edited.step(&Step::Ramp { coverage: 0.5 }, by("ann", 4), &BTreeMap::new()).is_ok());
    }
    let refused = |course: &Course, change: fn(&mut ExperimentFile)| {
        let mut file = course.file();
        change(&mut file);
        course.edit(file, by("cat", 3)).unwrap_err().to_string()
    };
    // Strata are part of the estimate, and so is how many of them there are.
    let other = refused(&course, |file| file.analysis.dimensions[1].unit = "customer_id".to_owned());
    assert!(other.contains("`analysis.dimensions`"), "{other}");
    let merged = refused(&course, |file| file.analysis.dimension_values = 2);
    assert!(merged.contains("`analysis.dimension_values`"), "{merged}");
    let plain = running("end = '2026-11-20T00:00:00Z'", "");
    let shown = edit(&plain, "cat", 3, |file| {
        file.analysis.dimensions.push(Dimension::from("device".to_owned()));
        file.analysis.dimension_values = 2;
    });
    assert_eq!(Some(hash(&shown)), plain.plan_hash);
    assert_ne!(hash(&plain), hash(&course));
}

/// What is assigned before `analysis.start` counts neither for verdicts nor for rules.
#[test]
fn rules_and_verdicts_have_one_clock() {
    let plan = "planned_units = 1000\nmax_days = 10";
    let review = approved(&draft(plan, ""));
    let mut early = step(&review, &Step::Start, "ann", -4);
    for day in [-4, -1, 0, 3, 9, 10] {
        let expected = day.max(0) as f64;
        let (found, _) = clock(&early.analysis, &early.spans, at(day), 0);
        assert_eq!(early.days_running(at(day)), expected, "day {day}");
        // Before its start a verdict has no day either, not fewer than none.
        assert_eq!(found.days_running, expected, "day {day}");
        let due = watch(&early, None, by("rules", day));
        assert_eq!(due.is_some(), day == 10, "day {day}: {due:?}");
    }
    let pause = Step::Pause { reason: String::new() };
    early = step(&step(&early, &pause, "ann", 2), &Step::Resume, "ann", 5);
    assert_eq!((early.days_running(at(6)), clock(&early.analysis, &early.spans, at(6), 0).0.days_running), (3.0, 3.0));
}

type Change = fn(&mut ExperimentFile);

#[test]
fn whoever_wrote_coverage_schedule_or_allow_list_does_not_approve_them() {
    let changes: [Change; 6] = [
        |file| file.assignment.coverage = 0.9,
        |file| file.schedule.auto_rollback = Some(false),
        |file| file.analysis.end = Some(at(40)),
        |file| file.analysis.max_days = 30,
        |file| drop(file.assignment.allow_list.insert("u".to_owned(), "new".to_owned())),
        |file| file.analysis.secondary.push("clicks".to_owned()),
    ];
    let approve = |course: &Course, person: &str| {
        course.step(&Step::Approve { up_to: Some(1.0) }, by(person, 3), &BTreeMap::new()).is_ok()
    };
    let plan = "end = '2026-11-20T00:00:00Z'";
    for (number, change) in changes.into_iter().enumerate() {
        let written = edit(&edit(&draft(plan, ""), "cat", 1, change), "dan", 1, |file| {
            file.assignment.seed = Some("x".to_owned());
        });
        let review = step(&written, &Step::Submit, "ann", 2);
        assert_eq!(["ann", "cat", "dan", "bob"].map(|person| approve(&review, person)), [false, false, false, true]);
        // While it runs a metric to look at is nobody's plan; whatever gives away traffic is.
        let edited = edit(&edit(&running(plan, ""), "cat", 1, change), "dan", 1, |file| {
            file.schedule.refresh = experiment::schedule::Refresh::Hourly;
        });
        let may_cat = number == 5;
        assert_eq!(["cat", "dan", "bob"].map(|person| approve(&edited, person)), [may_cat, false, true], "{number}");
    }
    let words = edit(&draft(plan, ""), "cat", 1, |file| file.about.title = Some("Shorter".to_owned()));
    assert!(approve(&step(&words, &Step::Submit, "ann", 2), "cat"));
}

/// What was written before an approval is no reason against the next content, and a reason still against more traffic.
#[test]
fn an_approval_keeps_who_wrote_what_it_is_of() {
    let written = edit(&draft("planned_units = 1000", ""), "cat", 1, |file| file.assignment.coverage = 0.1);
    let small = Step::Approve { up_to: Some(0.2) };
    let review = step(&step(&written, &Step::Submit, "ann", 1), &small, "bob", 1);
    assert_eq!((review.editors.len(), review.approval.as_ref().unwrap().editors.join(" ")), (0, "ann cat".to_owned()));
    let more =
        |course: &Course, person| course.step(&Step::Approve { up_to: Some(1.0) }, by(person, 2), &BTreeMap::new());
    assert!(more(&review, "cat").is_err());
    assert_eq!(more(&review, "dan").unwrap().approval.unwrap().editors.join(" "), "ann cat");
    // Stores of before know nothing of them.
    let mut old = serde_json::to_value(&review).unwrap();
    old["approval"].as_object_mut().unwrap().remove("editors");
    assert!(serde_json::from_value::<Course>(old).is_ok());
}

#[test]
fn the_schedule_of_a_phase_that_is_over_acts_in_none_of_the_next() {
    let ramp = "start = '2026-11-02T00:00:00Z'\nauto_rollback = true\n\
                ramp = [{ at = '2026-11-04T00:00:00Z', coverage = 0.5 }, { at = '2026-11-06T00:00:00Z', coverage = 1.0 }]";
    let first = running("planned_units = 100000", ramp);
    let reopened = step(&first, &Step::Reopen { reason: "again".to_owned(), make_default: false }, "ann", 20);
    assert_eq!((reopened.schedule.start, reopened.schedule.ramp.len()), (None, 0));
    assert_eq!(reopened.schedule.auto_rollback, Some(true));
    assert_eq!(watch(&approved(&reopened), None, by("rules", 21)), None, "it does not start by itself");
    // A new ramp keeps its distance from the start of this phase: two days, and not twenty-two.
    let ramped = edit(&reopened, "ann", 20, |file| {
        file.schedule.ramp = vec![RampStep { at: at(23), coverage: 0.5 }];
    });
    let again = step(&approved(&ramped), &Step::Start, "ann", 21);
    assert_eq!(watch(&again, None, by("rules", 22)), None);
    let due = watch(&again, None, by("rules", 23));
    assert!(matches!(due, Some(Due::Hold { verb: "ramp", .. })), "{due:?}");
}

#[test]
fn a_scheduled_start_shortens_the_planned_days() {
    let late = draft("end = '2026-11-20T00:00:00Z'", "start = '2026-11-15T00:00:00Z'");
    assert_eq!(checklist::planned_days(&late, &LaunchFacts::default()), Some(5.0));
    let early = draft("end = '2026-11-20T00:00:00Z'", "start = '2026-10-15T00:00:00Z'");
    assert_eq!(checklist::planned_days(&early, &LaunchFacts::default()), Some(19.0));
}
