//! What happens to experiments by themselves: every combination of what is known with what the clock says, and long random lives.
//!
//! In: courses, made-up evidence.  Out: nothing.
//! Never here: the store (see the tests of `control`), real results (see the tests of `app`).
//! Start at `every_combination_of_harm_health_clock_and_ramp`.

#![expect(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod draws;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use draws::Draws;
use experiment::decision::{Code, Reason, Verdict};
use experiment::lifecycle::evidence::{Evidence, Harm, Significant};
use experiment::lifecycle::watch::{Cause, Obstacle};
use experiment::lifecycle::{ApprovalPolicy, By, Course, Due, State, Step, wants_results, watch};

fn at(hours: i64) -> DateTime<Utc> {
    "2026-11-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours)
}

const RAMP: &str = "ramp = [{ at = '2026-11-02T00:00:00Z', coverage = 0.05 }, { at = '2026-11-03T12:00:00Z', coverage = 0.1 }, \
                    { at = '2026-11-05T00:00:00Z', coverage = 0.5 }, { at = '2026-11-06T00:00:00Z', coverage = 1.0 }]";

fn draft(schedule: &str, plan: &str) -> Course {
    let text = format!(
        "[assignment]\nkey = 'checkout'\ncoverage = 0.01\n\
         variants = [{{ key = 'old', value = false }}, {{ key = 'new', value = true }}]\n\
         [analysis]\nexposures = 'marts.exposures'\nstart = '2026-11-01T00:00:00Z'\ngoals = ['revenue']\n{plan}\n\
         guardrails = [{{ metric = 'returns', margin = 0.02 }}]\n[schedule]\n{schedule}\n"
    );
    Course::draft(toml::from_str(&text).unwrap(), by("ann", 0, ApprovalPolicy::Never)).unwrap()
}

fn by(person: &str, hours: i64, policy: ApprovalPolicy) -> By<'_> {
    By { person, at: at(hours), policy, is_approver: false, groups: "" }
}

fn step(course: &Course, step: &Step, hours: i64) -> Course {
    course.step(step, by("bob", hours, ApprovalPolicy::Never), &BTreeMap::new()).unwrap()
}

/// Started at 00:00 on the first.
fn running(schedule: &str, plan: &str) -> Course {
    step(&step(&draft(schedule, plan), &Step::Submit, 0), &Step::Start, 0)
}

fn well(hours: i64) -> Evidence {
    Evidence {
        verdict: Some(Verdict { code: Code::KeepRunning, reasons: Vec::new(), days_left: Some(3.0) }),
        arm: None,
        units: 1_000,
        fewest_units: 480,
        exposures: 3_000,
        data_until: Some(at(hours)),
        ailments: Vec::new(),
        harmed: Vec::new(),
        sample_ratio_p: None,
        unknown: Vec::new(),
        significant: Vec::new(),
    }
}

fn harm() -> Harm {
    Harm { metric: "returns".to_owned(), arm: "new".to_owned() }
}

fn see(course: &Course, evidence: Option<&Evidence>, hours: i64) -> Option<Due> {
    watch(course, evidence, by("rules", hours, ApprovalPolicy::Never))
}

/// What is due in one word.
fn word(due: Option<&Due>) -> String {
    match due {
        None => "–".to_owned(),
        Some(Due::Start) => "start".to_owned(),
        Some(Due::Ramp { coverage }) => format!("ramp {coverage}"),
        Some(Due::Stop { because, proposal }) => {
            let name = |cause: &Cause| match cause {
                Cause::Guardrail { .. } => "guardrail",
                Cause::SampleRatio { .. } => "sample_ratio",
                Cause::PlannedEnd { .. } => "end",
                Cause::PlannedUnits { .. } => "units",
                Cause::LongestRuntime { .. } => "runtime",
            };
            let names: Vec<&str> = because.iter().map(name).collect();
            let code = proposal.as_ref().map_or("none".to_owned(), |proposal| {
                format!("{:?} {}", proposal.verdict.code, proposal.arm.as_deref().unwrap_or("–"))
            });
            format!("stop {}: {code}", names.join("+"))
        }
        Some(Due::Hold { verb, because }) => format!("hold {verb} {}", because.len()),
    }
}

#[test]
fn every_combination_of_harm_health_clock_and_ramp() {
    let mut seen = 0;
    for bits in 0..128_u32 {
        let is = |bit: u32| bits & (1 << bit) != 0;
        let [harmed, ratio, leak, ended, units, has_ramp, rolls_back] = [0, 1, 2, 3, 4, 5, 6].map(is);
        let schedule = format!("{}\nauto_rollback = {rolls_back}", if has_ramp { RAMP } else { "" });
        let end = if ended { "end = '2026-11-09T00:00:00Z'" } else { "end = '2026-12-09T00:00:00Z'" };
        let course = running(&schedule, &format!("{end}\nplanned_units = {}", if units { 1_000 } else { 1_001 }));
        let mut found = well(8 * 24);
        if harmed {
            found.harmed.push(harm());
        }
        if ratio {
            found.sample_ratio_p = Some(1e-9);
            found.ailments.push(Reason::SequentialSampleRatio { p: 1e-9 });
        }
        if leak {
            found.ailments.push(Reason::Leak { units: 3 });
        }
        let due = see(&course, Some(&found), 8 * 24);
        let mut causes = Vec::new();
        causes.extend((harmed && rolls_back).then_some("guardrail"));
        causes.extend((ratio && rolls_back).then_some("sample_ratio"));
        causes.extend(ended.then_some("end"));
        causes.extend(units.then_some("units"));
        let code = match (rolls_back, harmed, ratio) {
            (true, true, _) => "RollBack old",
            (true, false, true) => "FixFirst –",
            _ => "KeepRunning –",
        };
        let held = usize::from(harmed) + usize::from(ratio) + usize::from(leak);
        let expected = match (causes.is_empty(), has_ramp, held) {
            (false, _, _) => format!("stop {}: {code}", causes.join("+")),
            (true, false, _) => "–".to_owned(),
            (true, true, 0) => "ramp 0.05".to_owned(),
            (true, true, held) => format!("hold ramp {held}"),
        };
        assert_eq!(word(due.as_ref()), expected, "{bits:07b}");
        seen += 1;
    }
    assert_eq!(seen, 128);
}

#[test]
fn nothing_happens_in_other_states() {
    let course = running(RAMP, "end = '2026-11-20T00:00:00Z'");
    let mut found = well(900);
    found.harmed.push(harm());
    for state in [State::Draft, State::Paused, State::Decided, State::Archived] {
        let course = Course { state, ..course.clone() };
        assert_eq!(see(&course, Some(&found), 900), None, "{}", state.name());
        assert!(!wants_results(&course, None, at(900)), "{}", state.name());
    }
}

#[test]
fn a_start_waits_for_its_moment_and_for_an_approval_of_all_that_the_ramp_reaches() {
    let draft = draft(&format!("start = '2026-11-01T06:00:00Z'\n{RAMP}"), "");
    assert_eq!(see(&draft, None, 7), None, "a draft");
    let review = step(&draft, &Step::Submit, 1);
    let policy = ApprovalPolicy::Above { share: 0.1 };
    assert_eq!(watch(&review, None, by("rules", 5, policy)), None);
    assert_eq!(watch(&review, None, by("rules", 6, ApprovalPolicy::Never)), Some(Due::Start));
    let held = Due::Hold { verb: "start", because: vec![Obstacle::NotApproved { share: 1.0 }] };
    assert_eq!(watch(&review, None, by("rules", 6, policy)), Some(held.clone()));
    // What is asked for by default is what the ramp reaches; less is not enough, also for the verb.
    let approve = |up_to| review.step(&Step::Approve { up_to }, by("bob", 2, policy), &BTreeMap::new()).unwrap();
    assert_eq!(watch(&approve(Some(0.5)), None, by("rules", 6, policy)), Some(held));
    let refused = approve(Some(0.5)).step(&Step::Start, by("ann", 6, policy), &BTreeMap::new()).unwrap_err();
    assert!(refused.to_string().contains("would reach 1 of all units"), "{refused}");
    let approved = approve(None);
    assert_eq!(approved.approval.as_ref().unwrap().up_to, 1.0);
    assert_eq!(watch(&approved, None, by("rules", 6, policy)), Some(Due::Start));
    assert!(approved.step(&Step::Start, by("ann", 6, policy), &BTreeMap::new()).is_ok());
    // Without a moment it is started by hand.
    assert_eq!(see(&step(&self::draft("", ""), &Step::Submit, 1), None, 900), None);
}

#[test]
fn an_approval_covers_a_ramp_that_grows_while_it_runs_or_the_edit_is_refused() {
    let policy = ApprovalPolicy::Above { share: 0.1 };
    let small = "ramp = [{ at = '2026-11-02T00:00:00Z', coverage = 0.08 }]";
    let course = running(small, "");
    let mut file = course.file();
    file.schedule.ramp[0].coverage = 0.09;
    assert!(course.edit(file.clone(), by("ann", 9, policy)).is_ok());
    file.schedule.ramp[0].coverage = 0.2;
    let refused = course.edit(file.clone(), by("ann", 9, policy)).unwrap_err();
    assert!(refused.to_string().contains("would reach 0.2 of all units"), "{refused}");
    // Words of one whose ramp nobody approved, because nobody had to, may still change.
    file.schedule.ramp[0].coverage = 0.08;
    file.schedule.refresh = experiment::schedule::Refresh::Hourly;
    let edited = course.edit(file, by("ann", 9, policy)).unwrap();
    assert_eq!(edited.fields[0].path, "schedule.refresh");
    // A step beyond the approval, by a policy that became stricter, is held.
    let due = watch(&course, Some(&well(30)), by("rules", 30, ApprovalPolicy::Always));
    assert_eq!(due, Some(Due::Hold { verb: "ramp", because: vec![Obstacle::NotApproved { share: 0.08 }] }));
}

#[test]
fn steps_keep_their_distance_whatever_was_late() {
    // By the plan: 24 h after the start, then 36, 36 and 24.
    let mut course = running(RAMP, "");
    assert_eq!(see(&course, Some(&well(23)), 23), None);
    assert_eq!(word(see(&course, Some(&well(24)), 24).as_ref()), "ramp 0.05");
    // Nobody looked for four days: one step, and the next one 36 h after it.
    course = step(&course, &Step::Ramp { coverage: 0.05 }, 100);
    assert_eq!(see(&course, Some(&well(135)), 135), None);
    assert_eq!(word(see(&course, Some(&well(136)), 136).as_ref()), "ramp 0.1");
    // A pause of 50 h does not count.
    course = step(&course, &Step::Pause { reason: String::new() }, 120);
    course = step(&course, &Step::Resume, 170);
    assert_eq!(see(&course, Some(&well(185)), 185), None);
    assert_eq!(word(see(&course, Some(&well(186)), 186).as_ref()), "ramp 0.1");
    // Who went further by hand has done those steps.
    course = step(&course, &Step::Ramp { coverage: 0.7 }, 190);
    assert_eq!(see(&course, Some(&well(213)), 213), None);
    assert_eq!(word(see(&course, Some(&well(214)), 214).as_ref()), "ramp 1");
    course = step(&course, &Step::Ramp { coverage: 1.0 }, 214);
    assert_eq!(see(&course, Some(&well(900)), 900), None);
}

#[test]
fn a_step_needs_fresh_results_that_know_something() {
    let course = step(&running(RAMP, ""), &Step::Ramp { coverage: 0.05 }, 24);
    let held = |change: fn(&mut Evidence)| {
        let mut found = well(60);
        change(&mut found);
        let due = see(&course, Some(&found), 60).unwrap();
        let Due::Hold { because, .. } = due else { panic!("{due:?}") };
        because
    };
    assert_eq!(word(see(&course, Some(&well(60)), 60).as_ref()), "ramp 0.1");
    let none = see(&course, None, 60).unwrap();
    assert_eq!(none, Due::Hold { verb: "ramp", because: vec![Obstacle::NoResults] });
    assert_eq!(held(|found| found.exposures = 0), [Obstacle::NoExposure]);
    assert_eq!(held(|found| found.data_until = None), [Obstacle::NoDataSince { since: at(24) }]);
    assert_eq!(held(|found| found.data_until = Some(at(24))), [Obstacle::NoDataSince { since: at(24) }]);
    assert_eq!(held(|found| found.verdict = None), [Obstacle::Undecidable]);
    let metric = "returns".to_owned();
    assert_eq!(held(|found| found.unknown.push("returns".to_owned())), [Obstacle::TooFewUnits { metric }]);
    let worse = |found: &mut Evidence| {
        let (metric, arm) = ("revenue".to_owned(), "new".to_owned());
        found.significant.push(Significant { metric, arm, effect: -0.1, is_better: false });
    };
    assert_eq!(held(worse), [Obstacle::Goal { metric: "revenue".to_owned() }]);
    let reason = Reason::Stale { hours: 70.0, most: 48.0 };
    assert_eq!(
        held(|found| found.ailments.push(Reason::Stale { hours: 70.0, most: 48.0 })),
        [Obstacle::Health { reason }]
    );
}

#[test]
fn stops_by_the_clock_need_no_results_and_propose_what_the_rules_say() {
    let course = running("", "end = '2026-11-15T00:00:00Z'");
    assert_eq!(see(&course, Some(&well(335)), 335), None);
    assert_eq!(word(see(&course, None, 336).as_ref()), "stop end: none");
    let mut found = well(336);
    found.verdict = Some(Verdict { code: Code::Ship, reasons: Vec::new(), days_left: None });
    found.arm = Some("new".to_owned());
    let due = see(&course, Some(&found), 336).unwrap();
    assert_eq!(word(Some(&due)), "stop end: Ship new");
    let stopped = step(&course, &due.step().unwrap(), 336);
    assert_eq!(stopped.state, State::Paused);
    assert_eq!(stopped.proposal.unwrap().arm.as_deref(), Some("new"));
    assert_eq!(stopped.decision, None, "a stop never decides");

    // 56 days of running; those of a pause do not count.
    let course = running("", "planned_units = 1000000");
    assert_eq!(see(&course, None, 56 * 24 - 1), None);
    assert_eq!(word(see(&course, None, 56 * 24).as_ref()), "stop runtime: none");
    let paused = step(&step(&course, &Step::Pause { reason: String::new() }, 24), &Step::Resume, 48);
    assert_eq!(see(&paused, None, 57 * 24 - 1), None);
    assert_eq!(word(see(&paused, None, 57 * 24).as_ref()), "stop runtime: none");

    // The planned units, not before the least runtime.
    let course = running("", "planned_units = 1000");
    assert_eq!(see(&course, Some(&well(167)), 167), None);
    assert_eq!(word(see(&course, Some(&well(168)), 168).as_ref()), "stop units: KeepRunning –");
    let mut fewer = well(168);
    fewer.units = 999;
    assert_eq!(see(&course, Some(&fewer), 168), None);
}

#[test]
fn rolling_back_is_on_for_ramps_and_off_without_unless_said_otherwise() {
    for (schedule, expected) in [
        (RAMP.to_owned(), "stop guardrail: RollBack old"),
        (String::new(), "–"),
        ("auto_rollback = true".to_owned(), "stop guardrail: RollBack old"),
        (format!("{RAMP}\nauto_rollback = false"), "–"),
    ] {
        let mut found = well(2);
        found.harmed.push(harm());
        assert_eq!(word(see(&running(&schedule, ""), Some(&found), 2).as_ref()), expected, "{schedule}");
    }
    // Its last step is where most is at stake: it is guarded beyond it.
    let course = step(&running(RAMP, ""), &Step::Ramp { coverage: 1.0 }, 140);
    let mut found = well(400);
    found.harmed.push(harm());
    assert_eq!(word(see(&course, Some(&found), 400).as_ref()), "stop guardrail: RollBack old");
}

#[test]
fn results_are_wanted_once_a_period_and_before_what_the_clock_does() {
    let hourly = running("refresh = 'hourly'", "");
    assert!(wants_results(&hourly, None, at(0)));
    assert!(!wants_results(&hourly, Some(at(5)), at(5) + TimeDelta::minutes(59)));
    assert!(wants_results(&hourly, Some(at(5) + TimeDelta::minutes(59)), at(6)));
    assert!(wants_results(&hourly, Some(at(29)), at(5)), "a clock that was put back");
    let daily = running("", "end = '2026-11-15T00:00:00Z'");
    assert!(!wants_results(&daily, Some(at(24)), at(47)));
    assert!(wants_results(&daily, Some(at(47)), at(48)));
    assert!(wants_results(&daily, Some(at(335)), at(336)), "at its end");
    // 1 November 2026 is a Sunday.
    let weekly = running("refresh = 'weekly'", "");
    assert!(wants_results(&weekly, Some(at(23)), at(24)));
    assert!(!wants_results(&weekly, Some(at(24)), at(24 * 8 - 1)));
    let never = running("refresh = 'never'", "");
    assert!(!wants_results(&never, None, at(600)));
    let ramp = running(RAMP, "");
    assert!(!wants_results(&ramp, Some(at(1)), at(23)));
    assert!(wants_results(&ramp, Some(at(24)), at(25)), "a step waits, and what is known is an hour old");
    assert!(!wants_results(&ramp, Some(at(24)), at(24) + TimeDelta::minutes(59)));
}

/// A life of sixty days under a watch: whatever is seen, nothing grows at or after harm, every stop is a pause with its reasons, coverage never
/// falls, and steps keep their distance.
#[test]
fn a_watched_experiment_never_ramps_after_harm() {
    let mut draws = Draws::new(11);
    let (mut ramps, mut stops, mut harms, mut full) = (0, 0, 0, 0);
    for life in 0..400 {
        let rolls_back = life % 4 != 0;
        let risk = [0.0, 0.01, 0.05, 0.3][life % 4];
        let mut course = running(&format!("{RAMP}\nauto_rollback = {rolls_back}"), "");
        let (mut was_harmed, mut raised, mut now) = (false, 0, 0_i64);
        while course.state == State::Running && now < 60 * 24 {
            now += 1 + (draws.uniform() * 30.0) as i64;
            let mut found = well(now - (draws.normal().abs() * 8.0) as i64);
            let is_harmed = draws.uniform() < risk;
            if is_harmed {
                found.harmed.push(harm());
            }
            if draws.uniform() < 0.1 {
                found.ailments.push(Reason::Leak { units: 1 });
            }
            let evidence = (draws.uniform() < 0.9).then_some(&found);
            was_harmed |= is_harmed && evidence.is_some();
            let due = see(&course, evidence, now);
            let is_healthy = evidence.is_some_and(|found| found.ailments.is_empty() && found.harmed.is_empty());
            if let Some(Due::Ramp { coverage }) = due {
                assert!(is_healthy, "it grew while something was wrong");
                assert!(!(was_harmed && rolls_back), "it grew after harm");
                assert!(coverage > course.assignment.coverage);
                assert!(now - raised >= 24, "two steps within {} h", now - raised);
                (raised, ramps) = (now, ramps + 1);
            }
            if let Some(Due::Stop { because, .. }) = &due {
                assert!(!because.is_empty());
                stops += 1;
            }
            let Some(step) = due.and_then(|due| due.step()) else { continue };
            let next = self::step(&course, &step, now);
            assert!(next.assignment.coverage >= course.assignment.coverage);
            assert!(next.decision.is_none());
            course = next;
        }
        harms += u32::from(was_harmed);
        full += u32::from(course.assignment.coverage == 1.0);
        assert_eq!(course.state, State::Paused, "each ends by harm or by its longest runtime");
    }
    // The walk has been everywhere.
    assert!(ramps > 300 && stops == 400 && harms > 100 && full > 50, "{ramps} {stops} {harms} {full}");
}

#[test]
fn schedules_that_cannot_be_followed_name_their_key() {
    let steps = |text: &str| format!("ramp = [{text}]");
    let step = |day: u32, coverage: f64| format!("{{ at = '2026-11-{day:02}T00:00:00Z', coverage = {coverage} }}");
    let end = "end = '2026-11-20T00:00:00Z'";
    for (schedule, expected) in [
        (
            "start = '2026-10-31T00:00:00Z'".to_owned(),
            "`schedule.start` of `checkout` cannot be: `2026-10-31 00:00:00 UTC` lies before `analysis.start`, and exposures count from 2026-11-01 00:00:00 UTC on",
        ),
        ("start = '2026-11-20T00:00:00Z'".to_owned(), "does not lie before `analysis.end`"),
        (steps(&step(2, 1.5)), "`schedule.ramp` of `checkout` cannot be: `1.5` is no coverage"),
        (steps(&step(2, 0.0)), "`0` is no coverage"),
        (steps("{ at = '2026-11-02T00:00:00Z', coverage = nan }"), "`NaN` is no coverage"),
        (steps(&step(2, 0.01)), "the step to `0.01` does not go beyond `0.01`"),
        (steps(&[step(2, 0.5), step(3, 0.2)].join(", ")), "the step to `0.2` does not go beyond `0.5`"),
        (steps(&[step(3, 0.2), step(3, 0.5)].join(", ")), "does not come after `2026-11-03 00:00:00 UTC`"),
        (steps(&step(1, 0.2)), "does not come after `2026-11-01 00:00:00 UTC`"),
        (steps(&step(20, 0.2)), "does not lie before `analysis.end`"),
        (
            format!("{}\nrefresh = 'never'", steps(&step(2, 0.2))),
            "`schedule.refresh` of `checkout` cannot be: a ramp and `auto_rollback` need results",
        ),
        ("auto_rollback = true\nrefresh = 'never'".to_owned(), "need results"),
    ] {
        let course = draft(&schedule, end);
        let error = course.step(&Step::Submit, by("ann", 0, ApprovalPolicy::Never), &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains(expected), "{schedule}: {error}");
    }
    let unknown = toml::from_str::<experiment::schedule::Schedule>("refresh = 'monthly'").unwrap_err().to_string();
    assert!(unknown.contains("expected one of `hourly`, `daily`, `weekly`, `never`"), "{unknown}");
}

#[test]
fn a_schedule_changes_neither_what_was_approved_nor_what_was_planned_nor_older_records() {
    let plain = draft("", "");
    let mut file = plain.file();
    assert_eq!(serde_json::to_value(&file).unwrap().get("schedule"), None);
    file.schedule = draft(RAMP, "").schedule;
    let planned = Course::draft(file, by("ann", 0, ApprovalPolicy::Never)).unwrap();
    assert_eq!(planned.approval_hash().unwrap(), plain.approval_hash().unwrap());
    assert_eq!(planned.plan_hash(&BTreeMap::new()).unwrap(), plain.plan_hash(&BTreeMap::new()).unwrap());
    // While it runs a schedule may change, and is still checked.
    let course = running(RAMP, "end = '2026-11-20T00:00:00Z'");
    let mut file = course.file();
    file.schedule.ramp[3].at = at(200);
    file.schedule.auto_rollback = Some(false);
    let edit = course.edit(file.clone(), by("ann", 9, ApprovalPolicy::Never)).unwrap();
    let paths: Vec<&str> = edit.fields.iter().map(|field| field.path.as_str()).collect();
    assert_eq!(paths, ["schedule.ramp", "schedule.auto_rollback"]);
    file.schedule.ramp[3].at = at(2_000);
    let error = course.edit(file, by("ann", 9, ApprovalPolicy::Never)).unwrap_err();
    assert!(error.to_string().contains("`schedule.ramp` of `checkout`"), "{error}");
    // A phase begins anew: no step is behind it.
    let raised = step(&course, &Step::Ramp { coverage: 0.05 }, 24);
    assert_eq!(raised.raised_at, Some(at(24)));
    assert_eq!(step(&raised, &Step::Reopen { reason: "again".to_owned(), make_default: false }, 30).raised_at, None);
}
