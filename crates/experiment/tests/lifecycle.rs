//! The state machine of experiments: every state × verb, every field, approvals, and random walks.
//!
//! In: tables written by hand from the rules; walks drawn from a seed.  Out: nothing.
//! Never here: the store (see the tests of `control`).
//! Start at `every_verb_in_every_state`.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use domain::Problem;
use experiment::assign::Value;
use experiment::decision::Code;
use experiment::layer::Layer;
use experiment::lifecycle::checklist::{Surroundings, checklist};
use experiment::lifecycle::{
    ApprovalPolicy, Blocker, By, Course, ExposureSeen, LaunchFacts, LifecycleError, PowerGap, State, Step, Verb,
    Warning, approval,
};
use experiment::plan::ExperimentFile;
use experiment::program::{Flag, ValueType};

fn at(day: i64) -> DateTime<Utc> {
    "2026-11-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::days(day)
}

fn by(person: &str, day: i64, policy: ApprovalPolicy) -> By<'_> {
    By { person, at: at(day), policy, is_approver: false, groups: "" }
}

fn file(more: &str) -> ExperimentFile {
    let text = format!(
        "[assignment]\nkey = 'checkout'\ncoverage = 0.05\n\
         variants = [{{ key = 'old', weight = 1, value = false }}, {{ key = 'new', weight = 3, value = true }}]\n{more}\n\
         [analysis]\nexposures = 'marts.exposures'\nstart = '2026-11-01T00:00:00Z'\nend = '2026-11-15T00:00:00Z'\n\
         goals = ['revenue']\nguardrails = [{{ metric = 'returns', margin = 0.02 }}]\n"
    );
    toml::from_str(&text).unwrap()
}

fn draft() -> Course {
    Course::draft(file(""), by("ann", 0, ApprovalPolicy::Never)).unwrap()
}

fn step_of(verb: Verb) -> Step {
    let reason = "because".to_owned();
    match verb {
        Verb::Submit => Step::Submit,
        Verb::Approve => Step::Approve { up_to: None },
        Verb::Reject => Step::Reject { reason },
        Verb::Start => Step::Start,
        Verb::Ramp => Step::Ramp { coverage: 1.0 },
        Verb::Pause => Step::Pause { reason },
        Verb::Resume => Step::Resume,
        Verb::Stop => Step::Stop { reason, proposal: None },
        Verb::Decide => Step::Decide {
            chosen: Code::Ship,
            arm: "new".to_owned(),
            reason,
            proposed: None,
            results: serde_json::Value::Null,
            plan_hash: None,
        },
        Verb::Reopen => Step::Reopen { reason, make_default: false },
        Verb::Archive => Step::Archive { reason, make_default: false },
    }
}

fn go(course: &Course, verbs: &[Verb]) -> Course {
    verbs.iter().enumerate().fold(course.clone(), |course, (day, verb)| {
        course.step(&step_of(*verb), by("bob", day as i64, ApprovalPolicy::Never), &BTreeMap::new()).unwrap()
    })
}

fn in_state(state: State) -> Course {
    let verbs: &[Verb] = match state {
        State::Draft => &[],
        State::Review => &[Verb::Submit],
        State::Running => &[Verb::Submit, Verb::Start],
        State::Paused => &[Verb::Submit, Verb::Start, Verb::Pause],
        State::Decided => &[Verb::Submit, Verb::Start, Verb::Decide],
        State::Archived => &[Verb::Archive],
    };
    go(&draft(), verbs)
}

/// Rows are states, columns verbs, in the order of the rule book; `.` is a refusal.
const TABLE: &str = "\
         submit approve reject start ramp pause resume stop decide reopen archive
draft    review .       .      .     .    .     .      .    .      .      archived
review   .      review  draft  running .  .     .      .    .      .      archived
running  .      running .      .     running paused . paused decided draft .
paused   .      paused  .      .     paused . running  paused decided draft archived
decided  .      .       .      .     .    .     .      .    .      draft  archived
archived .      .       .      .     .    .     .      .    .      .      .";

#[test]
fn every_verb_in_every_state() {
    let rows: Vec<Vec<&str>> = TABLE.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((rows[0].len(), rows.len()), (Verb::ALL.len(), State::ALL.len() + 1));
    for (state, row) in State::ALL.into_iter().zip(&rows[1..]) {
        assert_eq!(state.name(), row[0]);
        let course = in_state(state);
        for ((verb, name), expected) in Verb::ALL.into_iter().zip(&rows[0]).zip(&row[1..]) {
            assert_eq!(verb.name(), *name);
            let next = course.step(&step_of(verb), by("bob", 9, ApprovalPolicy::Never), &BTreeMap::new());
            match next {
                Ok(next) => assert_eq!(next.state.name(), *expected, "{} × {name}", state.name()),
                Err(error) => {
                    assert_eq!(*expected, ".", "{} × {name}: {error}", state.name());
                    assert!(matches!(error, LifecycleError::NotNow { .. }), "{error}");
                }
            }
        }
    }
}

type Change = fn(&mut ExperimentFile);

/// Every field; the states in which it may change.
const FIELDS: &[(&str, Change, &[State])] = {
    const DRAFT: &[State] = &[State::Draft, State::Review];
    const OPEN: &[State] = &[State::Draft, State::Review, State::Running, State::Paused];
    const LIVE: &[State] = &[State::Draft, State::Review, State::Running, State::Paused, State::Decided];
    &[
        ("about", |file| file.about.title = Some("Shorter form".to_owned()), LIVE),
        ("assignment.coverage", |file| file.assignment.coverage = 0.08, OPEN),
        ("analysis.end", |file| file.analysis.end = Some(at(28)), OPEN),
        ("analysis.max_days", |file| file.analysis.max_days = 40, OPEN),
        ("analysis.secondary", |file| file.analysis.secondary.push("clicks".to_owned()), OPEN),
        ("assignment.allow_list", |file| drop(file.assignment.allow_list.insert("u".into(), "new".into())), OPEN),
        ("assignment.hash_attribute", |file| file.assignment.hash_attribute = "device".to_owned(), DRAFT),
        ("assignment.seed", |file| file.assignment.seed = Some("x".to_owned()), DRAFT),
        ("assignment.feature", |file| file.assignment.feature = Some("x".to_owned()), DRAFT),
        ("assignment.variants", |file| file.assignment.variants.reverse(), DRAFT),
        ("assignment.variants[old].weight", |file| file.assignment.variants[0].weight = 9.0, DRAFT),
        ("assignment.variants[new].value", |file| file.assignment.variants[1].value = Value::Null, DRAFT),
        ("assignment.audience", |file| file.assignment.audience = Some(Value::Null), DRAFT),
        ("assignment.holdout", |file| file.assignment.holdout = Some("all".to_owned()), DRAFT),
        ("assignment.sticky", |file| file.assignment.sticky = Some(Default::default()), DRAFT),
        (
            "assignment.slots",
            |file| {
                file.assignment.slots.push(toml::from_str("layer = 'l'\nstart = 0.0\nend = 0.5").unwrap());
            },
            DRAFT,
        ),
        ("analysis.goals", |file| file.analysis.goals.push("orders".to_owned().into()), DRAFT),
        ("analysis.guardrails", |file| file.analysis.guardrails[0].margin = 0.5, DRAFT),
        ("analysis.alpha", |file| file.analysis.alpha = 0.1, DRAFT),
        ("analysis.running_alpha", |file| file.analysis.running_alpha = 0.02, DRAFT),
        ("analysis.planned_units", |file| file.analysis.planned_units = Some(1), DRAFT),
        ("analysis.start", |file| file.analysis.start = at(1), DRAFT),
        ("analysis.min_days", |file| file.analysis.min_days = 8, DRAFT),
        ("assignment.phase", |file| file.assignment.phase = 3, &[]),
        ("assignment.winner", |file| file.assignment.winner = Some("old".to_owned()), &[]),
        ("assignment.paused", |file| file.assignment.paused = true, &[]),
        ("assignment.key", |file| file.assignment.key = "other".to_owned(), &[]),
    ]
};

#[test]
fn every_field_changes_only_in_its_states_and_a_refusal_names_it() {
    for (path, change, states) in FIELDS {
        for state in State::ALL {
            let course = in_state(state);
            let mut file = course.file();
            change(&mut file);
            match course.edit(file, by("cat", 9, ApprovalPolicy::Never)) {
                Ok(edit) => {
                    assert!(states.contains(&state), "{path} changed while {}", state.name());
                    assert_eq!(edit.fields[0].path, *path);
                }
                Err(error) => {
                    assert!(!states.contains(&state), "{path} while {}: {error}", state.name());
                    assert!(error.to_string().contains(&format!("`{path}`")), "{error}");
                }
            }
        }
    }
}

#[test]
fn a_running_coverage_only_grows_and_late_metrics_are_marked() {
    let course = in_state(State::Running);
    let mut file = course.file();
    file.assignment.coverage = 0.01;
    let error = course.edit(file, by("ann", 9, ApprovalPolicy::Never)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the coverage of `checkout` is 0.05 and may only grow, not become 0.01; `reopen` it to begin a new phase"
    );
    let error = course.step(&Step::Ramp { coverage: f64::NAN }, by("ann", 9, ApprovalPolicy::Never), &BTreeMap::new());
    assert!(error.unwrap_err().to_string().contains("`NaN` is no share"));
    let mut file = course.file();
    file.analysis.secondary.push("clicks".to_owned());
    let edited = course.edit(file, by("ann", 9, ApprovalPolicy::Never)).unwrap().course;
    assert_eq!(edited.post_hoc, ["clicks"]);
    assert_eq!(edited.approval_hash().unwrap(), course.approval_hash().unwrap());
    assert_eq!(edited.plan_hash(&BTreeMap::new()).unwrap(), course.plan_hash(&BTreeMap::new()).unwrap());
}

#[test]
fn weights_become_shares_and_stay_them() {
    let course = draft();
    let weights: Vec<f64> = course.assignment.variants.iter().map(|variant| variant.weight).collect();
    assert_eq!(weights, [0.25, 0.75]);
    // Thirds do not sum to 1 exactly; saving them again must not look like a change.
    let mut thirds = file("");
    thirds.assignment.variants.push(toml::from_str("key = 'third'\nweight = 1\nvalue = true").unwrap());
    thirds.assignment.variants[1].weight = 1.0;
    let course = Course::draft(thirds, by("ann", 0, ApprovalPolicy::Never)).unwrap();
    assert!(course.edit(course.file(), by("ann", 1, ApprovalPolicy::Never)).unwrap().fields.is_empty());
    for (weight, problem) in [(-1.0, "weight `-1`"), (f64::NAN, "weight `NaN`")] {
        let mut bad = file("");
        bad.assignment.variants[1].weight = weight;
        let error = Course::draft(bad, by("ann", 0, ApprovalPolicy::Never)).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let mut zero = file("");
    zero.assignment.variants.iter_mut().for_each(|variant| variant.weight = 0.0);
    let error = Course::draft(zero, by("ann", 0, ApprovalPolicy::Never)).unwrap_err().to_string();
    assert!(error.contains("weights that sum to `0`"), "{error}");
}

#[test]
fn traffic_is_coverage_times_the_width_in_each_layer() {
    let slots = "slots = [{ layer = 'a', start = 0.0, end = 0.2 }, { layer = 'a', start = 0.5, end = 0.8 }, \
                 { layer = 'b', start = 0.0, end = 0.4 }]";
    // 0.05 × (0.2 + 0.3) × 0.4
    let share = approval::traffic_share(&file(slots).assignment, 0.05);
    assert!((share - 0.01).abs() < 1e-12, "{share}");
    assert!(!ApprovalPolicy::default().asks(0.1));
    assert!(ApprovalPolicy::default().asks(0.1001));
}

#[test]
fn an_approval_is_of_somebody_else_of_this_revision_and_of_so_much_traffic() {
    let policy = ApprovalPolicy::Always;
    let none = BTreeMap::new();
    let review = go(&draft(), &[Verb::Submit]);
    let start = |course: &Course| course.step(&Step::Start, by("ann", 3, policy), &none);
    assert!(matches!(start(&review), Err(LifecycleError::NeedsApproval { .. })));
    let own = review.step(&Step::Approve { up_to: None }, by("ann", 2, policy), &none).unwrap_err();
    assert!(matches!(own, LifecycleError::OwnApproval { .. }));
    let approved = review.step(&Step::Approve { up_to: Some(0.5) }, by("bob", 2, policy), &none).unwrap();
    let running = start(&approved).unwrap();
    let ramp = |coverage| running.step(&Step::Ramp { coverage }, by("ann", 4, policy), &none);
    assert!(ramp(0.5).is_ok());
    assert!(matches!(ramp(0.6), Err(LifecycleError::NeedsApproval { share, .. }) if (share - 0.6).abs() < 1e-12));
    // An emergency stop needs nobody.
    assert!(running.step(&step_of(Verb::Stop), by("ann", 4, policy), &none).is_ok());
    // An edit voids it and makes its writer an author.
    let mut file = approved.file();
    file.assignment.seed = Some("other".to_owned());
    let edited = approved.edit(file, by("bob", 5, policy)).unwrap().course;
    assert_eq!((edited.state, edited.approval.as_ref()), (State::Draft, None));
    let again = edited.step(&Step::Submit, by("ann", 6, policy), &none).unwrap();
    let own = again.step(&Step::Approve { up_to: None }, by("bob", 6, policy), &none).unwrap_err();
    assert!(matches!(own, LifecycleError::OwnApproval { .. }));
}

/// Two editors are two authors: neither approves what the other wrote last. What was approved in between, others have read.
#[test]
fn whoever_wrote_a_part_approves_none_of_it() {
    let (policy, none) = (ApprovalPolicy::Always, BTreeMap::new());
    let edit = |course: &Course, person: &str, seed: &str| {
        let mut file = course.file();
        file.assignment.seed = Some(seed.to_owned());
        course.edit(file, by(person, 1, policy)).unwrap().course
    };
    let approve = |course: &Course, person: &str| {
        let submitted = (course.state == State::Draft).then(|| go(course, &[Verb::Submit]));
        let review = submitted.as_ref().unwrap_or(course);
        review.step(&Step::Approve { up_to: None }, by(person, 3, policy), &none)
    };
    let both = edit(&edit(&draft(), "bob", "b"), "cat", "c");
    assert_eq!((both.edited_by.as_str(), both.editors.join(" ")), ("cat", "ann bob cat".to_owned()));
    for person in ["ann", "bob", "cat"] {
        assert!(matches!(approve(&both, person), Err(LifecycleError::OwnApproval { .. })), "{person}");
    }
    let approved = approve(&both, "dan").unwrap();
    let again = edit(&approved, "cat", "d");
    assert_eq!(again.editors, ["cat"]);
    assert!(approve(&again, "cat").is_err() && approve(&again, "bob").is_ok());
    // A rejection takes the approval back, and with it that somebody has read it.
    let rejected = approved.step(&step_of(Verb::Reject), by("dan", 4, policy), &none).unwrap();
    assert!(approve(&edit(&rejected, "cat", "d"), "bob").is_err());
    // Stores of before know of one editor only.
    let mut old = serde_json::to_value(&both).unwrap();
    old.as_object_mut().unwrap().remove("editors");
    let old: Course = serde_json::from_value(old).unwrap();
    assert!(approve(&old, "cat").is_err() && approve(&old, "bob").is_ok());
}

#[test]
fn an_approval_is_of_the_groups_as_they_were() {
    let (policy, none) = (ApprovalPolicy::Always, BTreeMap::new());
    let with = |person, groups| By { groups, ..by(person, 2, policy) };
    let review = go(&draft(), &[Verb::Submit]);
    let approved = review.step(&Step::Approve { up_to: None }, with("bob", "ten people"), &none).unwrap();
    let start = |groups| approved.step(&Step::Start, with("ann", groups), &none);
    assert!(start("ten people").is_ok());
    assert!(matches!(start("everybody"), Err(LifecycleError::NeedsApproval { .. })));
}

#[test]
fn a_treatment_for_everybody_needs_an_approver_or_a_second_person() {
    let (policy, none, running) = (ApprovalPolicy::default(), BTreeMap::new(), in_state(State::Running));
    let decide = |course: &Course, chosen, arm: &str, by: By<'_>| {
        let (arm, reason) = (arm.to_owned(), "x".to_owned());
        let results = serde_json::Value::Null;
        course.step(&Step::Decide { chosen, arm, reason, proposed: None, results, plan_hash: None }, by, &none)
    };
    let ann = by("ann", 9, policy);
    for chosen in [Code::Ship, Code::NoDifference] {
        let refused = decide(&running, chosen, "new", ann).unwrap_err();
        assert!(matches!(refused, LifecycleError::ServingNeedsApproval { .. }), "{refused}");
        assert!(decide(&running, chosen, "new", By { is_approver: true, ..ann }).is_ok());
        assert!(decide(&running, chosen, "new", by("ann", 9, ApprovalPolicy::Never)).is_ok());
        assert!(decide(&running, chosen, "new", by("ann", 9, ApprovalPolicy::Above { share: 1.0 })).is_ok());
    }
    // Control is what everybody has already: going back to it needs nobody.
    for chosen in [Code::RollBack, Code::NoDifference] {
        assert!(decide(&running, chosen, "old", By { policy: ApprovalPolicy::Always, ..ann }).is_ok());
    }
    let approved = |up_to| running.step(&Step::Approve { up_to: Some(up_to) }, by("bob", 8, policy), &none).unwrap();
    assert!(decide(&approved(0.5), Code::Ship, "new", ann).is_err());
    assert!(decide(&approved(1.0), Code::Ship, "new", ann).is_ok());
    assert!(decide(&approved(1.0), Code::Ship, "new", by("bob", 9, policy)).is_err(), "one person is no second one");
}

#[test]
fn results_of_another_plan_decide_nothing() {
    let running = in_state(State::Running);
    let decide = |results: serde_json::Value, plan_hash: Option<String>| {
        let (arm, reason) = ("old".to_owned(), "x".to_owned());
        let step = Step::Decide { chosen: Code::RollBack, arm, reason, proposed: None, results, plan_hash };
        running.step(&step, by("ann", 9, ApprovalPolicy::Never), &BTreeMap::new())
    };
    let results = serde_json::json!({ "lift": 0.1 });
    assert!(decide(results.clone(), running.plan_hash.clone()).is_ok());
    assert!(decide(serde_json::Value::Null, None).is_ok(), "without results there is nothing to compare");
    for other in [None, Some("other".to_owned())] {
        let error = decide(results.clone(), other).unwrap_err();
        assert_eq!((error.code(), error.kind()), ("other_plan", domain::ErrorKind::Conflict));
        assert!(error.to_string().contains(running.plan_hash.as_deref().unwrap()), "{error}");
    }
}

#[test]
fn a_decision_serves_an_arm_that_fits_and_says_why_it_overrides() {
    let running = in_state(State::Running);
    let decide = |chosen, arm: &str, reason: &str| {
        let (arm, reason) = (arm.to_owned(), reason.to_owned());
        let step =
            Step::Decide { chosen, arm, reason, proposed: None, results: serde_json::Value::Null, plan_hash: None };
        running.step(&step, by("ann", 9, ApprovalPolicy::Never), &BTreeMap::new())
    };
    for (chosen, arm) in [(Code::Ship, "old"), (Code::RollBack, "new"), (Code::FixFirst, "new"), (Code::Ship, "?")] {
        assert!(matches!(decide(chosen, arm, "x"), Err(LifecycleError::WrongArm { .. })), "{chosen:?} {arm}");
    }
    assert!(matches!(decide(Code::Ship, "new", " "), Err(LifecycleError::NoReason { .. })));
    let decided = decide(Code::Ship, "new", "sales like it").unwrap();
    assert_eq!(decided.assignment.winner.as_deref(), Some("new"));
    let decision = decided.decision.unwrap();
    assert_eq!((decision.by.as_str(), decision.plan_hash.as_ref()), ("ann", running.plan_hash.as_ref()));
    assert!(decision.plan_hash.is_some());
}

#[test]
fn a_new_phase_has_a_new_seed_and_keeps_the_old_one_readable() {
    let decided = in_state(State::Decided);
    let reopened = go(&decided, &[Verb::Reopen]);
    assert_eq!(
        (reopened.state, reopened.assignment.phase, reopened.assignment.winner.as_ref()),
        (State::Draft, 1, None)
    );
    assert_ne!(reopened.assignment.hash_seed(), decided.assignment.hash_seed());
    assert_eq!(reopened.earlier[0].decision, decided.decision);
    assert_eq!((reopened.spans.len(), reopened.approval.as_ref(), reopened.plan_hash.as_ref()), (0, None, None));
}

#[test]
fn the_clock_stops_while_it_is_paused_and_never_runs_backwards() {
    let none = BTreeMap::new();
    let never = ApprovalPolicy::Never;
    let review = go(&draft(), &[Verb::Submit]);
    let running = review.step(&Step::Start, by("ann", 10, never), &none).unwrap();
    let paused = running.step(&step_of(Verb::Pause), by("ann", 12, never), &none).unwrap();
    assert!((paused.days_running(at(20)) - 2.0).abs() < 1e-9);
    let resumed = paused.step(&Step::Resume, by("ann", 20, never), &none).unwrap();
    assert!((resumed.days_running(at(21)) - 3.0).abs() < 1e-9);
    // The clock was put back to day 15.
    let back = resumed.step(&step_of(Verb::Pause), by("ann", 15, never), &none).unwrap();
    assert!((back.days_running(at(15)) - 2.0).abs() < 1e-9);
    assert_eq!(back.started_at(), Some(at(10)));
}

fn known() -> LaunchFacts {
    let metric = toml::from_str("kind = 'proportion'\n[fact]\ntable = 'marts.orders'\n").unwrap();
    let metric: experiment::metric::MetricFile = metric;
    let names = ["revenue", "returns"];
    LaunchFacts {
        metrics: names.into_iter().map(|name| (name.to_owned(), metric.clone())).collect(),
        power: Some(0.9),
        ..LaunchFacts::default()
    }
}

fn nowhere<'a>() -> Surroundings<'a> {
    Surroundings { others: &[], layers: &[], holdouts: &[], flags: &[] }
}

#[test]
fn the_checklist_is_empty_for_a_complete_experiment_and_names_everything_else() {
    let clean = checklist(&draft(), nowhere(), &known());
    assert!(clean.blockers.is_empty() && clean.warnings.is_empty(), "{clean:?}");
    let mut bad = draft();
    bad.assignment.variants.truncate(1);
    bad.analysis.goals.clear();
    bad.analysis.guardrails[0].margin = 1.5;
    bad.analysis.end = None;
    bad.assignment.holdout = Some("all".to_owned());
    bad.assignment.slots = vec![toml::from_str("layer = 'l'\nstart = 0.0\nend = 0.5").unwrap()];
    let facts = LaunchFacts {
        power: Some(0.5),
        planned_days: Some(3.0),
        exposure_seen: Some(ExposureSeen::Silent),
        ..Default::default()
    };
    let found = checklist(&bad, nowhere(), &facts);
    let codes: Vec<String> = found.blockers.iter().map(code).collect();
    let expected = [
        "too_few_arms",
        "no_primary_metric",
        "guardrail_margin",
        "no_planned_end",
        "no_such_metric",
        "slot",
        "no_such_holdout",
        "exposure_not_seen",
    ];
    assert_eq!(codes, expected);
    assert_eq!(
        found.warnings,
        [Warning::LowPower { power: 0.5, least: 0.8 }, Warning::ShortRuntime { days: 3.0, least: 7.0 },]
    );
}

#[test]
fn what_is_known_of_exposures_and_power_is_said() {
    let with = |exposure_seen, facts: LaunchFacts| {
        checklist(&draft(), nowhere(), &LaunchFacts { exposure_seen: Some(exposure_seen), ..facts })
    };
    assert!(with(ExposureSeen::Seen, known()).blockers.is_empty());
    // The first experiment of all starts without: nobody can have seen an exposure.
    let first = with(ExposureSeen::NoneYet, known());
    assert!(first.blockers.is_empty());
    assert_eq!(first.warnings, [Warning::NoExposureYet { table: "marts.exposures".to_owned() }]);
    for found in [ExposureSeen::Silent, ExposureSeen::NoTable] {
        let expected = Blocker::ExposureNotSeen { table: "marts.exposures".to_owned(), found };
        assert_eq!(with(found, known()).blockers, [expected]);
    }
    let gap = LaunchFacts { power: None, power_gap: PowerGap::Edited, ..known() };
    let next = "montauk experiment power checkout".to_owned();
    assert_eq!(with(ExposureSeen::Seen, gap).warnings, [Warning::PowerUnknown { why: PowerGap::Edited, next }]);
    // A planned end is a day; planned units come when they come.
    let short = LaunchFacts { planned_days: Some(3.0), ..known() };
    assert!(with(ExposureSeen::Seen, short.clone()).warnings.is_empty());
    let mut endless = draft();
    endless.analysis.end = None;
    endless.analysis.planned_units = Some(100);
    let found = checklist(&endless, nowhere(), &short);
    assert_eq!(found.warnings, [Warning::ShortRuntime { days: 3.0, least: 7.0 }]);
}

fn code<T: serde::Serialize>(item: &T) -> String {
    serde_json::to_value(item).unwrap()["code"].as_str().unwrap().to_owned()
}

#[test]
fn the_checklist_sees_what_is_beside() {
    let slots = "slots = [{ layer = 'l', start = 0.0, end = 0.5 }]";
    let mut other =
        Course { state: State::Running, ..Course::draft(file(slots), by("a", 0, ApprovalPolicy::Never)).unwrap() };
    other.assignment.key = "other".to_owned();
    let mut own = other.clone();
    own.assignment.key = "own".to_owned();
    let layer = Layer { name: "l".to_owned(), hash_attribute: "id".to_owned(), seed: None };
    let others = [other];
    let flag = Flag { key: "own".into(), value_type: ValueType::String, default: Value::from("x"), description: None };
    let around = Surroundings { others: &others, layers: &[layer], holdouts: &[], flags: &[flag] };
    let found = checklist(&own, around, &known());
    let codes: Vec<String> = found.blockers.iter().map(code).collect();
    assert_eq!(codes, ["slot", "control_is_not_default", "value_type"]);
    assert!(matches!(&found.blockers[0], Blocker::Slot { problem, .. } if problem.contains("`other`")), "{found:?}");
    assert!(found.warnings.is_empty(), "slots of one layer keep them apart: {found:?}");
    own.assignment.slots.clear();
    let overlap = Warning::Overlap { experiment: "other".to_owned(), metric: "revenue".to_owned() };
    assert_eq!(checklist(&own, around, &known()).warnings, [overlap]);
}

/// splitmix64 (Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// What holds between a course and the next one, whatever was done.
fn assert_next(before: &Course, after: &Course, person: &str) {
    let is_started = |course: &Course| matches!(course.state, State::Running | State::Paused | State::Decided);
    let same_phase = before.assignment.phase == after.assignment.phase;
    assert!(after.assignment.phase >= before.assignment.phase);
    if is_started(before) && is_started(after) {
        assert!(same_phase);
        assert!(after.assignment.coverage >= before.assignment.coverage, "a ramp lowered the coverage");
        assert_eq!(after.assignment.variants, before.assignment.variants, "arms changed while units saw them");
        assert_eq!(after.assignment.hash_seed(), before.assignment.hash_seed());
        assert_eq!(after.analysis.goals, before.analysis.goals);
        assert_eq!(after.approval_hash().unwrap(), before.approval_hash().unwrap());
    }
    if let Some(approval) = after.approval.as_ref().filter(|_| after.approval != before.approval) {
        assert_eq!(approval.by, person);
        assert!(approval.by != after.author && approval.by != after.edited_by, "somebody approved what he wrote");
        assert!(!before.editors.contains(&approval.by), "somebody approved what he wrote a part of");
        assert_eq!(approval.hash, after.approval_hash().unwrap());
    }
    if after.state == State::Decided
        && before.state != State::Decided
        && after.assignment.winner.as_deref() == Some("new")
    {
        let second = before.approval.as_ref().is_some_and(|approval| approval.by != person && approval.up_to == 1.0);
        assert!(person == "cat" || second, "a treatment is served without a second person");
    }
    if after.state == State::Running && before.state == State::Review {
        let approval = after.approval.as_ref().unwrap();
        assert!(approval.covers(&after.approval_hash().unwrap(), "", after.traffic_share()));
    }
    assert_eq!(after.assignment.winner.is_some(), after.decision.is_some());
    assert_eq!(after.spans.last().is_some_and(|span| span.to.is_none()), after.state == State::Running);
    assert!(after.earlier.len() >= before.earlier.len());
}

#[test]
fn whatever_people_do_the_rules_hold() {
    let people = ["ann", "bob", "cat"];
    let mut reached = BTreeMap::new();
    for seed in 0..1_000 {
        let mut random = Random(seed);
        let mut course = draft();
        for day in 0..60 {
            let person = people[random.below(3)];
            let by = By { is_approver: person == "cat", ..by(person, day, ApprovalPolicy::Always) };
            let next = if random.below(12) == 0 {
                let mut file = course.file();
                FIELDS[random.below(FIELDS.len())].1(&mut file);
                course.edit(file, by).map(|edit| edit.course)
            } else {
                let coverage = random.below(101) as f64 / 100.0;
                let verb = Verb::ALL[random.below(Verb::ALL.len() - 1)];
                let is_rare = matches!(verb, Verb::Reject | Verb::Reopen | Verb::Decide);
                let step = if verb == Verb::Ramp {
                    Step::Ramp { coverage }
                } else if verb == Verb::Approve {
                    Step::Approve { up_to: Some(coverage) }
                } else if is_rare && random.below(3) > 0 {
                    Step::Start
                } else {
                    step_of(verb)
                };
                course.step(&step, by, &BTreeMap::new())
            };
            if let Ok(next) = next {
                assert_next(&course, &next, person);
                *reached.entry(next.state).or_insert(0_usize) += 1;
                course = next;
            }
        }
    }
    // The walks are no use if they stay in drafts.
    for state in [State::Draft, State::Review, State::Running, State::Paused, State::Decided] {
        assert!(reached.get(&state).copied().unwrap_or(0) > 50, "{reached:?}");
    }
}
